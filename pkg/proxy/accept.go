package proxy

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/clienthello"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/relay"
	"github.com/outwarden/outwarden/pkg/wire"
)

// conn is one captured connection on its way through the stages. Each stage
// fills the fields under its name.
type conn struct {
	p    *Proxy
	snap *Snapshot
	near relay.Accepted // as it was accepted; its socket is the relay's, or raw's
	raw  *net.TCPConn   // nil: the relay has it
	wire *wire.Conn     // what reads and writes raw

	// accept
	flow  flow.Flow
	known bool   // the kernel has a record of it
	share *share // nil: not admitted

	// identify
	process *process.Identity

	// sniff
	heard  []byte // what the relay read before it gave the connection back
	silent bool   // the workload has said nothing for as long as is usual
	peek   *clienthello.Conn
	proto  protocol
	hello  clienthello.Hello

	// decide
	name     string           // canonical SNI; for plain HTTP "", the Host of each request decides
	routes   policy.Shortlist // for name
	decision policy.Decision

	// pass through
	to      netip.AddrPort // where it goes: the original destination, unless the name leads elsewhere
	carried bool           // by the relay, from the first bytes on

	// terminate
	client net.Conn  // what requests are read from: TLS, or peek for plain HTTP
	alpn   string    // agreed with the workload
	offer  []string  // what is offered upstream from here on: the same
	beside *reaching // the upstream that is reached meanwhile
	failed dead      // the upstream that could not be had

	// serve
	requests atomic.Int64                       // records of requests written
	left     bool                               // the workload asks for nothing more, and all of what it said is read
	gone     bool                               // it has closed altogether
	said     said                               // what these have in common
	last     struct{ method, authority string } // of HTTP/1
	aim      atomic.Pointer[aim]
	apart    atomic.Uint64           // upstream.Key.Apart of its requests
	tasks    sync.WaitGroup          // goroutines of streams that wait
	http2    atomic.Pointer[h2.Conn] // the HTTP/2 side, once there is one

	// for watch, from another goroutine
	vigil  vigil
	hungUp bool   // the workload had closed its side at the last look
	taken  uint64 // what it had taken by then

	// for Proxy.Close, Settle and replace, from another goroutine
	settled atomic.Pointer[policy.Shortlist] // routes, once they stay as they are; nil: requests may take any
	final   atomic.Bool                      // no request follows the one under way
	idle    idling                           // waiting for the next request
	tunnels atomic.Bool                      // in a tunnel, which has no end of its own
	up      atomic.Value                     // inject.Conn: the upstream of the HTTP/1 exchange under way

	started time.Time // accept
}

// stage carries a connection on and returns the stage that follows, which is
// entered on a goroutine of its own; nil: the connection is over. It has a record
// then.
type stage func(*conn) stage

// run takes c through one stage. Whatever happens, the socket is closed when the
// connection is over.
func (c *conn) run(s stage) {
	if next := s(c); next != nil {
		c.p.conns.Go(func() { c.run(next) })
		return
	}
	_ = c.raw.Close()
	c.part()
	c.p.forget(c)
}

// enter takes c through the first.
func (c *conn) enter() { c.run((*conn).begin) }

func (p *Proxy) forget(c *conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	if s := p.settle.Load(); s != nil {
		s.forget(c)
	}
	if c.share != nil {
		p.shares.give(c.flow.Workload())
	}
	<-p.slots
}

// begin is all that comes before bytes are carried.
func (c *conn) begin() stage {
	if !c.accept() {
		return nil
	}
	c.identify()
	if !c.wrap() || !c.mayLeave() || !c.sniff() {
		return nil
	}
	action := c.decide()
	c.settle()
	switch action {
	case policy.Passthrough:
		if !c.follow() {
			return nil
		}
		if c.proto == protoTLS && c.to == c.flow.Original {
			c.p.habits.learn(&c.flow)
		}
		c.passthrough()
		return nil
	case policy.Intercept:
		return c.intercept()
	}
	c.deny()
	return nil
}

// wrap readies the socket for who reads and writes it.
func (c *conn) wrap() bool {
	w, err := wire.New(c.raw)
	if err != nil { // there is no socket; see land
		c.recordConnection(&audit.Record{Decision: policy.Deny.String(), Reason: flow.ReasonInternal.String()})
		return false
	}
	c.wire = w
	return true
}

// attribute looks the kernel's record up, by the namespace of the listener too.
// That is done in the order in which connections are accepted: one that was reset
// while it waited may be followed by another's with its tuple, and the record is
// the first one's.
func (c *conn) attribute(netns uint64) {
	c.flow, c.known = c.p.o.Flows.Lookup(netns, c.near.Local, c.near.Remote)
	if !c.known {
		c.flow = flow.Flow{Source: c.near.Remote, At: c.started}
	}
	c.to = c.flow.Original
}

// accept goes on with a connection of which there is a record. Without one nothing
// is guessed: it is reset, and the trail says so. So is one beyond its workload's
// share.
func (c *conn) accept() bool {
	reason := c.unacceptable()
	if reason == flow.ReasonNone {
		return c.admit()
	}
	c.p.stats.Unattributed.Add(1)
	c.reset()
	c.recordConnection(&audit.Record{Decision: policy.Deny.String(), Reason: reason.String()})
	return false
}

func (c *conn) unacceptable() flow.Reason {
	switch {
	case !c.known:
		return flow.ReasonNoRecord
	case c.p.isOurs(c.flow.Original):
		return flow.ReasonLoop
	}
	return flow.ReasonNone
}

func (p *Proxy) isOurs(a netip.AddrPort) bool {
	_, ours := p.ours.Load(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	return ours
}

// reset makes the kernel answer with RST, so that the workload sees an error
// at once and no clean end of stream.
func (c *conn) reset() {
	if c.raw == nil {
		return // the relay does that
	}
	_ = c.raw.SetLinger(0)
	_ = c.raw.Close()
}
