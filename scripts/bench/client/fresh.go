package main

import (
	"sync"
	"time"
)

// fresh makes a connection for every request, and counts which were resumed.
func (r *run) fresh() error {
	get := request(r.options, "GET", "Connection: close")
	var wg sync.WaitGroup
	for range r.conns {
		wg.Go(func() {
			for n := 0; r.more(n); n++ {
				t := time.Now()
				err := r.once(get)
				r.count(t, err)
				if err != nil {
					pause()
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (r *run) once(get []byte) error {
	c, err := dial(r.url.addr, r.config)
	if err != nil {
		return err
	}
	defer c.close()
	if c.tls.ConnectionState().DidResume {
		r.mu.Lock()
		r.resumed++
		r.mu.Unlock()
	}
	return c.do(get)
}

// pause keeps errors from becoming a busy loop.
func pause() { <-time.After(5 * time.Millisecond) }
