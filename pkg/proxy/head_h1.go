package proxy

import (
	"errors"
	"os"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
)

// readHead reads until the head is whole, within the time for one. Most came with
// their first byte.
func (x *exchange) readHead() *failure {
	client := x.c.client
	for seen := 0; ; {
		b := x.in.bytes()
		if http1.Again(b, seen) {
			n, err := x.req.Parse(b)
			if err != nil {
				return requestFailure(err)
			}
			if n > 0 {
				x.note()
				x.in.take(n)
				return nil
			}
			if seen == 0 {
				_ = client.SetReadDeadline(time.Now().Add(x.c.p.o.Timeouts.Head))
			}
			seen = len(b)
		}
		if err := x.in.fill(client); err != nil {
			if http1.Blank(x.in.bytes()) {
				return errNoRequest
			}
			return readFailure(err)
		}
	}
}

// errNoRequest is the end of a connection between two requests: there is
// nothing to answer and nothing to record.
var errNoRequest = &failure{}

// note keeps what the record says of the head.
func (x *exchange) note() {
	x.method, x.authority = again(x.c.last.method, x.req.Method), again(x.c.last.authority, x.req.Host)
	x.c.last.method, x.c.last.authority = x.method, x.authority
	x.path, x.query = string(x.req.Path), string(x.req.Query)
	x.body.Reset(x.req.Body, x.req.Length)
}

// again is string(b), or last where that is the same: a connection's requests have
// much in common.
func again(last string, b []byte) string {
	if last == string(b) {
		return last
	}
	return string(b)
}

// requestFailure turns an error of the parser into an answer.
func requestFailure(err error) *failure {
	var e *http1.Error
	switch {
	case errors.Is(err, http1.ErrHeadTooLarge):
		return refusal(flow.ReasonHeaderTooLarge, "")
	case errors.As(err, &e):
		return &failure{e.Status, flow.ReasonBadRequest, e.Detail}
	}
	return refusal(flow.ReasonInternal, "")
}

// readFailure turns an error of reading from the workload into an answer.
func readFailure(err error) *failure {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refusal(flow.ReasonWorkloadTimeout, "the request did not come to its end in time")
	}
	return refusal(flow.ReasonWorkloadClosed, "")
}
