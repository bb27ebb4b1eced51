package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/outwarden/outwarden/pkg/flow"
)

var (
	errNoHost     = errors.New("target has neither host nor address")
	errNoResolver = errors.New("no resolver configured")
	errOwnCA      = errors.New("certificate chain holds a local CA of this host")
	errClosed     = errors.New("pool is closed")
)

// Error is why no connection could be had. errors.Is finds its Reason, and
// whatever Err wraps.
type Error struct {
	Reason flow.Reason
	Host   string // as in Key.Host, or the address where that has none
	Err    error
}

func (e *Error) Error() string {
	return "connect to " + e.Host + ": " + e.Reason.String() + ": " + e.Err.Error()
}

// Unwrap returns the reason and the cause.
func (e *Error) Unwrap() []error { return []error{e.Reason, e.Err} }

// fail wraps err for the target, keeping a reason that is already there. A
// cancelled parent context means that the workload no longer waits.
func fail(ctx context.Context, t *Target, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Host == "" {
			return &Error{Reason: e.Reason, Host: t.serverName(), Err: e.Err}
		}
		return e
	}
	reason := ReasonOf(err)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		reason = flow.ReasonWorkloadClosed
	}
	return &Error{Reason: reason, Host: t.serverName(), Err: err}
}

// ReasonOf classifies an error of dialling, of the handshake, or of a later Read
// or Write on a Conn. It never returns ReasonNone for a non-nil error.
func ReasonOf(err error) flow.Reason {
	if err == nil {
		return flow.ReasonNone
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	if reason := certificateReason(err); reason != flow.ReasonNone {
		return reason
	}
	return transportReason(err)
}

func certificateReason(err error) flow.Reason {
	if errors.Is(err, errOwnCA) {
		return flow.ReasonUpstreamOwnCA
	}
	if _, ok := errors.AsType[*distrustError](err); ok {
		return flow.ReasonUpstreamDistrusted
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return flow.ReasonUpstreamName
	}
	if _, ok := errors.AsType[*suffixError](err); ok {
		return flow.ReasonUpstreamName
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return flow.ReasonUpstreamExpired
		}
		return flow.ReasonUpstreamUntrusted
	}
	if _, ok := errors.AsType[*weakError](err); ok {
		return flow.ReasonUpstreamUntrusted
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return flow.ReasonUpstreamUntrusted
	}
	return flow.ReasonNone
}

func transportReason(err error) flow.Reason {
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return flow.ReasonUpstreamTLS
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return flow.ReasonUpstreamTimeout
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return flow.ReasonUpstreamTimeout
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return flow.ReasonUpstreamUnreachable
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return flow.ReasonUpstreamUnreachable
	}
	return flow.ReasonUpstreamTLS
}
