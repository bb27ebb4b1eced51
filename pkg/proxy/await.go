package proxy

import (
	"bytes"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/clienthello"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/relay"
)

// await leaves a connection that will probably be passed through to the relay from
// the start, which waits for what it says first without a goroutine, and carries it
// on if it is (Heard). Whatever else comes of it gets a goroutine then (Left), and
// takes the stages as any other does: nothing is refused and nothing intercepted
// from here. It reports false for who must not wait here, as more has to be asked:
// who is not known yet, or is not on this host (mayLeave).
func (c *conn) await() bool {
	if c.unacceptable() != flow.ReasonNone || c.flow.Away || c.flow.Guest || !c.p.habits.passes(&c.flow) {
		return false
	}
	if c.process = c.p.o.Processes.Known(&c.flow); c.process == nil {
		return false
	}
	if c.share = c.p.shares.take(c.flow.Workload()); c.share == nil {
		return false // which admit tells
	}
	if c.raw != nil && !c.dive() {
		return false // which the next read tells
	}
	c.p.conns.Add(1)
	if err := c.p.relay.Await(c.near.Socket, c.p.o.Timeouts.Silence, c.p.o.Timeouts.Hello, c); err != nil {
		c.Left(c.near.Socket, nil)
	}
	return true
}

// dive takes the socket from the net package.
func (c *conn) dive() bool {
	socket, err := relay.Take(c.raw)
	if err != nil {
		return false
	}
	c.near.Socket = socket
	c.own(nil)
	return true
}

// Heard passes the connection on if that is what is decided from a whole
// ClientHello. It never waits.
func (c *conn) Heard(said []byte) (far int, ok bool) {
	if !clienthello.IsTLS(said) {
		return 0, false
	}
	hello, err := clienthello.Parse(said)
	if err != nil || c.astray(&hello) {
		return 0, false
	}
	c.proto, c.hello = protoTLS, hello
	if c.decideTLS() != policy.Passthrough || !c.straight(c.decision, c.name) {
		return 0, false
	}
	far, err = c.p.o.Dial(c.egressIP(), c.to, true)
	if err != nil {
		return 0, false // passthrough tries it again, and tells
	}
	c.p.stats.Passed.Add(1)
	c.carried = true
	return far, true
}

// Left gives the connection a goroutine.
func (c *conn) Left(_ int, said []byte) {
	c.p.habits.forget(&c.flow)
	c.heard = bytes.Clone(said)
	c.silent = len(said) == 0 && time.Since(c.started) >= c.p.o.Timeouts.Silence
	c.land()
	c.p.crew.start(c)
	c.p.conns.Done()
}

// land makes the socket one that goroutines wait for, if it is not.
func (c *conn) land() {
	if c.raw != nil {
		return
	}
	f := os.NewFile(uintptr(c.near.Socket), "tcp")
	defer f.Close()
	again, err := net.FileConn(f)
	if err != nil { // out of descriptors: it takes a second one
		c.p.o.OnDefect(err)
		_ = unix.SetsockoptLinger(c.near.Socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		c.own(&net.TCPConn{}) // a closed one: the workload is reset, and the trail says so
		return
	}
	tcp := again.(*net.TCPConn)
	_ = tcp.SetKeepAlive(false) // net turns it on
	c.own(tcp)
}

// own says whose the socket is from now on, to who ends connections too.
func (c *conn) own(raw *net.TCPConn) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.raw = raw
	if c.p.ctx.Err() != nil { // Close has lost patience, and did not know of this one
		c.reset()
	}
}

// Over leaves a record that may have to wait to a goroutine.
func (c *conn) Over(r relay.Result) {
	if c.p.o.Records.Waits() {
		go c.bury(r)
		return
	}
	c.bury(r)
}

// bury records how the connection went, and forgets it.
func (c *conn) bury(r relay.Result) {
	defer c.p.conns.Done()
	defer c.p.forget(c)
	if c.carried {
		c.recordPassthrough(r)
		return
	}
	c.recordConnection(&audit.Record{Decision: policy.Deny.String(), Reason: flow.ReasonWorkloadClosed.String()})
}
