package main

import (
	"sync"
	"time"
)

// warmth is how many requests each connection does before the clock starts.
const warmth = 20

// rate sends at a steady pace over warm connections. A request that finds none
// of them free waits, and the wait counts.
func (r *run) rate() error {
	get := request(r.options, "GET")
	free := make(chan *conn, r.conns)
	for range r.conns {
		c, err := r.warm(get)
		if err != nil {
			return err
		}
		free <- c
	}
	r.start = time.Now()
	var wg sync.WaitGroup
	for i := 0; r.more(i); i++ {
		due := r.start.Add(time.Duration(i) * time.Second / time.Duration(r.options.rate))
		<-time.After(time.Until(due)) // none is left out when we are late
		t := time.Now()
		wg.Go(func() {
			c := <-free
			err := c.do(get)
			r.count(t, err)
			free <- c
		})
	}
	wg.Wait()
	return nil
}

func (r *run) warm(get []byte) (*conn, error) {
	c, err := dial(r.url.addr, r.config)
	if err != nil {
		return nil, err
	}
	for range warmth {
		if err := c.do(get); err != nil {
			return nil, err
		}
	}
	return c, nil
}
