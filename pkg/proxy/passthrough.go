package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// passthrough copies bytes undecrypted between the workload and the address
// that it meant to reach.
func (c *conn) passthrough() stage {
	up, err := c.dialOriginal()
	if err != nil {
		c.failPassthrough(err)
		return nil
	}
	c.carry(up, 0)
	return nil
}

func (c *conn) dialOriginal() (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(c.p.ctx, c.p.o.Timeouts.Hello)
	defer cancel()
	return c.p.o.Dial(ctx, c.egressIP(), c.flow.Original)
}

// egressIP is the source address that the connection's route asks for.
func (c *conn) egressIP() netip.Addr {
	if c.decision.Route < 0 || c.decision.Mode == policy.Observe {
		return netip.Addr{}
	}
	if profile := c.snap.Plans[c.decision.Route].Upstream; profile != nil {
		return profile.EgressIP
	}
	return netip.Addr{}
}

// failPassthrough resets, which is what the workload would have seen.
func (c *conn) failPassthrough(err error) {
	c.reset()
	reason := flow.ReasonUpstreamUnreachable
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = flow.ReasonUpstreamTimeout
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = flow.ReasonEgressUnavailable
	}
	c.recordConnection(audit.Record{
		SNI: c.hello.ServerName, Route: c.decision.Name, Decision: policy.Passthrough.String(), Reason: reason.String(),
		DurationMS: milliseconds(time.Since(c.started)),
	})
}

// carry copies both ways until both sides have ended, each end of stream
// passed on as one. already is what the server said before. It closes up.
func (c *conn) carry(up *net.TCPConn, already int64) {
	defer up.Close()
	c.carried.Store(up)
	c.p.stats.Passed.Add(1)
	sent := make(chan int64, 1)
	go func() { sent <- pipe(up, c.raw, c.peek.Peeked()) }()
	received := already + pipe(c.raw, up, nil)
	egress := ""
	if ip := c.egressIP(); ip.IsValid() {
		egress = ip.String()
	}
	c.recordConnection(audit.Record{
		SNI: c.hello.ServerName, Route: c.decision.Name, Decision: policy.Passthrough.String(), Reason: c.decision.Reason.String(),
		EgressIP: egress,
		Upstream: &audit.Upstream{IP: c.flow.Original.Addr().String(), Port: c.flow.Original.Port()},
		BytesOut: <-sent, BytesIn: received, DurationMS: milliseconds(time.Since(c.started)),
	})
}

// pipe writes first and then everything src has to dst; the kernel splices
// what follows, so the bytes never come up here. A broken side resets the
// other, so that no half a message looks whole.
func pipe(dst, src *net.TCPConn, first []byte) int64 {
	n, err := dst.Write(first)
	total := int64(n)
	if err == nil {
		var copied int64
		copied, err = io.Copy(dst, src)
		total += copied
	}
	if err != nil {
		_ = dst.SetLinger(0)
		_ = dst.Close()
		_ = src.SetLinger(0)
		_ = src.Close()
		return total
	}
	_ = dst.CloseWrite()
	return total
}
