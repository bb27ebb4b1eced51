package proxy

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// failure is why a request gets an answer from us and none from the upstream.
type failure struct {
	status int
	reason flow.Reason
	detail string // for people: what to look at; never a secret
}

func (f *failure) Error() string {
	if f.detail == "" {
		return f.reason.String()
	}
	return f.reason.String() + ": " + f.detail
}

// refused reports whether the request was refused for what it is, and not for
// what became of it.
func (f *failure) refused() bool {
	if f.reason == flow.ReasonBadRequest {
		return true // also where the status is 501 or 505
	}
	return f.status >= 400 && f.status < 500 && f.reason != flow.ReasonWorkloadTimeout
}

// statusOf is the HTTP status that says a reason most honestly.
var statusOf = map[flow.Reason]int{
	flow.ReasonBadRequest:          http.StatusBadRequest,
	flow.ReasonPathAmbiguous:       http.StatusBadRequest,
	flow.ReasonHeaderTooLarge:      http.StatusRequestHeaderFieldsTooLarge,
	flow.ReasonBodyTooLarge:        http.StatusRequestEntityTooLarge,
	flow.ReasonBodyUnsuitable:      http.StatusUnsupportedMediaType,
	flow.ReasonWorkloadTimeout:     http.StatusRequestTimeout,
	flow.ReasonWorkloadClosed:      0, // nobody is left to be told
	flow.ReasonAuthorityMismatch:   http.StatusMisdirectedRequest,
	flow.ReasonUpstreamTimeout:     http.StatusGatewayTimeout,
	flow.ReasonCredentialMissing:   http.StatusServiceUnavailable,
	flow.ReasonAuditUnavailable:    http.StatusServiceUnavailable,
	flow.ReasonEgressUnavailable:   http.StatusServiceUnavailable,
	flow.ReasonReplayUnknown:       http.StatusServiceUnavailable,
	flow.ReasonUpstreamUnreachable: http.StatusBadGateway,
	flow.ReasonUpstreamTLS:         http.StatusBadGateway,
	flow.ReasonUpstreamName:        http.StatusBadGateway,
	flow.ReasonUpstreamExpired:     http.StatusBadGateway,
	flow.ReasonUpstreamUntrusted:   http.StatusBadGateway,
	flow.ReasonUpstreamOwnCA:       http.StatusBadGateway,
	flow.ReasonUpstreamDistrusted:  http.StatusBadGateway,
	flow.ReasonUpstreamUnverified:  http.StatusBadGateway,
	flow.ReasonUpstreamResponse:    http.StatusBadGateway,
	flow.ReasonUpstreamClosed:      http.StatusBadGateway,
	flow.ReasonContentCoding:       http.StatusBadGateway,
	flow.ReasonResolveFailed:       http.StatusBadGateway,
	flow.ReasonInternal:            http.StatusInternalServerError,
}

// refusal makes a failure with the status that fits its reason: 403 where the
// workload asked for something it may not have.
func refusal(reason flow.Reason, detail string) *failure {
	status, ok := statusOf[reason]
	if !ok {
		status = http.StatusForbidden
	}
	return &failure{status, reason, detail}
}

// upstreamFailure turns an error of the pool into an answer.
func upstreamFailure(err error) *failure {
	var e *upstream.Error
	if !errors.As(err, &e) {
		return refusal(flow.ReasonInternal, "")
	}
	return refusal(e.Reason, e.Error())
}

// alerted is f, or what the upstream said against our TLS if err is that.
func (q *request) alerted(f *failure, err error) *failure {
	if q.up.IsZero() {
		return f
	}
	if said := q.up.Blame(err); said != "" {
		return refusal(flow.ReasonUpstreamTLS, said)
	}
	return f
}

// applyFailure turns an error of inject into an answer.
func applyFailure(err error) *failure {
	var f *failure
	var reason flow.Reason
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.As(err, &reason):
		return refusal(reason, err.Error())
	}
	return refusal(flow.ReasonInternal, "the credential could not be written")
}

// answer is the body of a refusal: one line a person can act on.
func (f *failure) answer() string {
	return "outwarden: " + f.Error() + "\n"
}

// appendTo writes the refusal as an HTTP/1.1 response that ends the connection.
// A response to HEAD has no body.
func (f *failure) appendTo(dst []byte, head bool) []byte {
	body := f.answer()
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(f.status)...)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nOutwarden-Reason: "...)
	dst = append(dst, f.reason.String()...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\nConnection: close\r\n\r\n"...)
	if head {
		return dst
	}
	return append(dst, body...)
}
