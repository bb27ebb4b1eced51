package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probe does one request and tells what came of it, with HTTP/2 where that is
// asked for.
func (r *run) probe() error {
	t := time.Now()
	if r.http2 {
		r.count(t, r.probeHTTP2())
		return nil
	}
	c, err := dial(r.url.addr, r.config)
	if err == nil {
		defer c.close()
		err = c.do(request(r.options, "GET", "Connection: close"))
		r.tell(c.tls.ConnectionState(), c.answer.status, c.answer.seen)
	}
	r.count(t, err)
	return nil
}

func (r *run) probeHTTP2() error {
	req, err := http.NewRequest("GET", r.url.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.bearer)
	config := r.config.Clone()
	config.NextProtos = nil // the transport knows
	c := http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: patience}
	answer, err := c.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	r.tell(*answer.TLS, answer.StatusCode, answer.Header.Get("X-Seen"))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// tell adds what a proof is about to the report.
func (r *run) tell(state tls.ConnectionState, status int, seen string) {
	r.extra["issuer"] = state.PeerCertificates[0].Issuer.CommonName
	r.extra["protocol"] = state.NegotiatedProtocol
	r.extra["status"] = status
	r.extra["seen"] = seen
}
