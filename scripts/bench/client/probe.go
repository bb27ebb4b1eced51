package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probe does one request in the protocol that is asked for, and tells what came
// of it.
func (r *run) probe() error {
	t := time.Now()
	switch r.protocol {
	case "grpc":
		r.count(t, r.probeRPC())
	case "h2":
		r.count(t, r.probeHTTP2())
	case "http1":
		r.count(t, r.probeHTTP1())
	default:
		return fmt.Errorf("no protocol %q", r.protocol)
	}
	return nil
}

func (r *run) probeHTTP1() error {
	c, err := dial(r.url.addr, r.config)
	if err != nil {
		return err
	}
	defer c.close()
	err = c.do(request(r.options, "GET", "Connection: close"))
	r.tell(c.tls.ConnectionState(), c.answer.status, c.answer.seen)
	return err
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
