package main

import (
	"sync"
	"time"
)

// atOnce is how many of the connections that call in turns do so at a time.
const atOnce = 64

// turns has connections call one after another, a few at a time: what differs
// with their number is only how many there are.
func (r *run) turns() error {
	get := request(r.options, "GET")
	all := open(r, func() (*conn, error) {
		c, err := dial(r.url.addr, r.config)
		if err != nil {
			return nil, err
		}
		return c, c.do(get)
	})
	next := make(chan *conn, len(all))
	for _, c := range all {
		next <- c
	}
	r.hold()
	var wg sync.WaitGroup
	for range min(atOnce, len(all)) {
		wg.Go(func() { r.callNext(next, get) })
	}
	wg.Wait()
	return nil
}

// callNext calls on whichever connection had its last turn longest ago.
func (r *run) callNext(next chan *conn, get []byte) {
	for n := 0; r.more(n); n++ {
		c := <-next
		t := time.Now()
		if err := c.do(get); err != nil {
			r.fail(err)
			c.close() // and it has no other turn
			return
		}
		r.count(t, nil)
		next <- c
	}
}
