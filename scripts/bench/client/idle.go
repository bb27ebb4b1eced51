package main

import "time"

// idle holds connections that did one request each, and lets go of them when it
// may. It counts those.
func (r *run) idle() error {
	get := request(r.options, "GET")
	held := open(r, func() (*conn, error) {
		t := time.Now()
		c, err := dial(r.url.addr, r.config)
		if err != nil {
			return nil, err
		}
		err = c.do(get)
		if err == nil {
			r.count(t, nil)
		}
		return c, err
	})
	r.hold()
	for _, c := range held {
		c.close()
	}
	return nil
}
