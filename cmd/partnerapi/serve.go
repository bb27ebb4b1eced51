package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// grace is how long requests may go on after the signal to stop.
const grace = 5 * time.Second

// serve answers until ctx ends, then lets requests in flight finish.
func serve(ctx context.Context, o *options, stdout io.Writer) error {
	p, err := newPartner(o)
	if err != nil {
		return err
	}
	config, err := tlsConfig(o)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: p, TLSConfig: config, ReadHeaderTimeout: 20 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }()
	announce(o.readyFD, stdout, l.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return stop(s)
	}
}

func stop(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.Close() // a stream that does not end is cut off
}

func announce(fd int, stdout io.Writer, addr net.Addr) {
	line := fmt.Sprintf("listening on %s\n", addr)
	_, _ = io.WriteString(stdout, line)
	if fd > 0 {
		f := os.NewFile(uintptr(fd), "ready")
		_, _ = io.WriteString(f, line)
		_ = f.Close()
	}
}

// tlsConfig asks for a client certificate but does not insist, so that a request
// without one gets an answer that says so.
func tlsConfig(o *options) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if o.clientCA == "" {
		return c, nil
	}
	text, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("client CA: no certificate in %s", o.clientCA)
	}
	return c, nil
}

// readSecret reads a file and cuts one line end off. No name: no secret.
func readSecret(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return b, nil
}
