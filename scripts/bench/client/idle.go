package main

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// dialers is how many connections are made at once.
const dialers = 16

// idle holds connections that did one request each, says so by a line, and lets
// go when a line comes in.
func (r *run) idle() error {
	get := request(r.options, "GET")
	held := make([]*conn, r.conns)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(r.conns); i = next.Add(1) - 1 {
				t := time.Now()
				c, err := dial(r.url.addr, r.config)
				if err == nil {
					held[i] = c
					err = c.do(get)
				}
				r.count(t, err)
			}
		})
	}
	wg.Wait()
	r.took = time.Since(r.start)
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the end of the input is as good as a line
	for _, c := range held {
		if c != nil {
			c.close()
		}
	}
	return nil
}
