package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/verify"
)

const mostRequest = 64 << 20

// readRequest reads a request as it is on the wire.
func readRequest(e *env, args []string, cleartext bool) (*verify.Request, error) {
	from, err := input(e, args)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	b, err := io.ReadAll(io.LimitReader(from, mostRequest+1))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if len(b) > mostRequest {
		return nil, fmt.Errorf("the request has over %d bytes", mostRequest)
	}
	return parseRequest(b, cleartext)
}

func parseRequest(b []byte, cleartext bool) (*verify.Request, error) {
	var head http1.Request
	n, err := head.Parse(b)
	if err != nil {
		return nil, hinted(fmt.Errorf("the request is not HTTP/1: %w", err), "lines of the head end with CR LF, as they do on the wire")
	}
	if n == 0 {
		return nil, errors.New("the request ends before its head does")
	}
	r := &verify.Request{Method: string(head.Method), Target: string(head.Target), Host: string(head.Host), Scheme: "https"}
	if cleartext {
		r.Scheme = "http"
	}
	for _, f := range head.Fields {
		if !http1.NameIs(f.Name, "host") {
			r.Fields = append(r.Fields, verify.Field{Name: string(f.Name), Value: string(f.Value)})
		}
	}
	r.Body, err = content(&head, b[n:])
	return r, err
}

// content is the body without its framing; nothing may stand behind it.
func content(head *http1.Request, b []byte) ([]byte, error) {
	var body http1.Body
	body.Reset(head.Body, head.Length)
	out := make([]byte, 0, len(b))
	n, done, err := body.Scan(b, func(p []byte) { out = append(out, p...) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("the request's body: %w", err)
	case !done && !body.Done():
		return nil, errors.New("the request ends before its body does")
	case n < len(b):
		return nil, fmt.Errorf("%d bytes stand behind the request's end", len(b)-n)
	}
	return out, nil
}
