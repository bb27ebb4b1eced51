package proxy

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/relay"
)

// passthrough copies bytes undecrypted between the workload and its destination.
func (c *conn) passthrough() {
	up, err := c.p.o.Dial(c.egressIP(), c.to, true)
	if err != nil {
		c.failPassthrough(err)
		return
	}
	c.carry(relay.End{Socket: up})
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
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		reason = flow.ReasonUpstreamTimeout
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = flow.ReasonEgressUnavailable
	}
	c.recordConnection(&audit.Record{
		SNI: c.hello.ServerName, Route: c.decision.Name, Decision: policy.Passthrough.String(), Reason: reason.String(),
		Upstream: c.elsewhere(), DurationMS: milliseconds(time.Since(c.started)),
	})
}

// carry hands both ends to the relay and waits until they are done. up may still
// be connecting.
func (c *conn) carry(up relay.End) {
	c.p.stats.Passed.Add(1)
	down, err := relay.Take(c.raw)
	if err != nil { // the proxy has closed it
		up.Reset()
		c.failPassthrough(err)
		return
	}
	r := c.p.relay.Run(relay.End{Socket: down, Said: c.peek.Peeked(), Framed: c.proto == protoTLS}, up, c.p.o.Timeouts.Hello)
	c.recordPassthrough(r)
}

// recordPassthrough says how a connection went that was carried.
func (c *conn) recordPassthrough(r relay.Result) {
	if !r.Connected {
		c.failPassthrough(r.Err)
		return
	}
	e, now := entries.Get().(*entry), time.Now()
	defer e.release()
	e.Kind, e.Time, e.Flow = audit.KindConnection, now, c.flow.ID()
	e.Decision, e.Reason = policy.Passthrough.String(), c.decision.Reason.String()
	e.BytesOut, e.BytesIn, e.DurationMS = r.Sent, r.Received, milliseconds(now.Sub(c.started))
	e.Share(c.say(e, &topic{
		process: c.process, guest: c.flow.GuestAddr(), original: c.flow.Original, sni: c.hello.ServerName, route: c.decision.Name, decision: e.Decision,
		passed: passage{c.to, c.egressIP()},
	}, nil).shared)
	c.write(&e.Record)
}
