package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// Protocols we speak on both sides, as ALPN names them (RFC 7301).
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

// intercept makes the connection one that requests can be read from: in clear, or
// over TLS after our handshake.
func (c *conn) intercept() stage {
	c.p.stats.Intercepted.Add(1)
	switch c.proto {
	case protoHTTP1:
		c.client = c.peek
		return c.beginHTTP1()
	case protoHTTP2:
		c.client, c.alpn = c.peek, alpnHTTP2
		return (*conn).serveHTTP2
	}
	if c.hello.Dotted {
		c.refuseHello(errDotted)
		return nil
	}
	if err := c.terminate(); err != nil {
		c.recordHandshake(err)
		return nil
	}
	if c.alpn != alpnHTTP2 {
		return c.beginHTTP1()
	}
	if c.wire.Release() != nil {
		c.recordSilence(flow.ReasonWorkloadClosed)
		return nil
	}
	return (*conn).serveHTTP2
}

// terminate finishes the workload's handshake with a leaf for the name it asked
// for. Where nothing is known of the upstream yet, that is reached now, so that a
// dead or untrusted one is an honest failure: first, where it has a choice of what
// the workload offered, and otherwise at the same time.
func (c *conn) terminate() error {
	offered := offeredHTTP(c.hello.ALPN)
	t := c.target(c.plan(), c.decision.Name, c.name, offered)
	alpn, fresh := c.snap.Upstream.Protocol(t.Key, offered)
	switch {
	case fresh:
		c.alpn = spoken(alpn, offered)
	case settled(offered):
		c.alpn = plainest(offered)
		return c.handshakeBeside(t)
	default:
		c.alpn = c.mirror(c.asks(), &t)
	}
	return c.handshake()
}

// handshake is the workload's. We speak c.alpn in it.
func (c *conn) handshake() error {
	server := tls.Server(c.peek, c.p.configs.get(configKey{c.name, c.alpn, c.elliptic()}, c.p.o.Leaves))
	if err := c.share.turn(c.p.ctx.Done(), c.p.o.Timeouts.Hello); err != nil {
		return err
	}
	defer c.share.done()
	c.wire.Hold() // our session ticket leaves with the first answer, if a request is here by then
	_ = c.wire.SetDeadline(time.Now().Add(c.p.o.Timeouts.Hello))
	if err := server.HandshakeContext(askedBy(c.flow.Workload())); err != nil {
		_ = c.wire.Release() // the alert
		return err
	}
	_ = c.wire.SetDeadline(time.Time{})
	c.client = server
	if c.alpn == "" {
		c.alpn = alpnHTTP1
	}
	return nil
}

// elliptic reports whether the workload's keys need no post-quantum exchange, which
// makes a handshake a third dearer: what it tells us stays on this host, where
// whoever could keep it for a later day can read its memory today. A guest may be
// farther away. A workload that sent no key share of a curve would have to be asked
// for one, by another round.
func (c *conn) elliptic() bool {
	return !c.flow.Guest && slices.ContainsFunc(c.hello.Shares, func(group uint16) bool { return slices.Contains(curves, tls.CurveID(group)) })
}

// settled reports whether any upstream, a dead one too, leads to the same answer.
func settled(offered []string) bool {
	return len(offered) == 0 || len(offered) == 1 && offered[0] == alpnHTTP1
}

// plan is the plan of the connection-level route, nil without one.
func (c *conn) plan() *Plan {
	if c.decision.Route < 0 || c.decision.Action != policy.Intercept {
		return nil
	}
	return &c.snap.Plans[c.decision.Route]
}

// spoken returns alpn, or for an upstream that chose nothing HTTP/1.1, which is
// what it speaks, if that was offered: nothing is chosen otherwise here either.
func spoken(alpn string, offered []string) string {
	if alpn == "" && slices.Contains(offered, alpnHTTP1) {
		return alpnHTTP1
	}
	return alpn
}

// plainest is what to answer a workload in that has no upstream: HTTP/1.1 or, if
// that is not offered, what is.
func plainest(offered []string) string {
	if len(offered) == 0 {
		return ""
	}
	return cmp.Or(spoken("", offered), offered[0])
}

// offeredHTTP keeps the protocols we speak, in the workload's order.
func offeredHTTP(alpn []string) []string {
	var offered []string
	for _, p := range alpn {
		if p == alpnHTTP1 || p == alpnHTTP2 {
			offered = append(offered, p)
		}
	}
	return offered
}

// recordHandshake says why the workload's handshake failed. An alert about our
// certificate means that it does not trust the authority, or pins another.
func (c *conn) recordHandshake(err error) {
	c.p.stats.Refused.Add(1)
	c.recordConnection(&audit.Record{
		SNI: c.name, Host: c.name, Route: c.decision.Name, Decision: policy.Intercept.String(), Reason: c.handshakeReason(err).String(),
		DurationMS: milliseconds(time.Since(c.started)),
	})
}

func (c *conn) handshakeReason(err error) flow.Reason {
	var mint *leafError
	var limit flow.Reason
	switch {
	case errors.As(err, &limit):
		c.p.stats.Limited.Add(1)
		return limit
	case errors.As(err, &mint):
		c.p.o.OnDefect(mint)
		return flow.ReasonInternal
	case isRemoteAlert(err):
		return flow.ReasonWorkloadDistrusts
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return flow.ReasonWorkloadTimeout
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return flow.ReasonWorkloadClosed
	}
	return flow.ReasonBadHello // no version or suite in common, or broken later on
}
