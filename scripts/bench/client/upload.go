package main

import (
	"fmt"
	"sync"
	"time"
)

// upload posts bodies over a few connections, one after the other on each.
func (r *run) upload() error {
	head := request(r.options, "POST", fmt.Sprintf("Content-Length: %d", r.size), "Content-Type: application/octet-stream")
	chunk := make([]byte, 64<<10)
	var wg sync.WaitGroup
	for range r.conns {
		wg.Go(func() {
			c, err := dial(r.url.addr, r.config)
			if err != nil {
				r.fail(err)
				return
			}
			defer c.close()
			for n := 0; err == nil && r.more(n); n++ {
				t := time.Now()
				err = c.post(head, chunk, r.size)
				r.count(t, err)
			}
		})
	}
	wg.Wait()
	return nil
}

func (c *conn) post(head, chunk []byte, size int64) error {
	if _, err := c.tls.Write(head); err != nil {
		return err
	}
	for size > 0 {
		n, err := c.tls.Write(chunk[:min(size, int64(len(chunk)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return c.read()
}
