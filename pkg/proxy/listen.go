package proxy

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/outwarden/outwarden/pkg/relay"
)

// front is where the connections of one listener come in, by one of two ways: the
// net package accepts those that goroutines will serve, and the relay (door) those
// that it will carry. Which one it will be shows only later, so the last ones are
// taken for the measure: who was wrong loses microseconds.
type front struct {
	p       *Proxy
	l       *net.TCPListener
	netns   uint64
	closed  <-chan struct{}
	door    *relay.Door // nil: by way of net
	carried int         // connections in a row that the relay carries
}

// enough of those that the relay carries in a row, and it accepts the next.
const enough = 4

// Serve accepts until l is closed, and closed after that, and returns nil then.
// Several listeners may be served at once; netns names to Flows the network
// namespace of this one.
func (p *Proxy) Serve(l *net.TCPListener, netns uint64, closed <-chan struct{}) error {
	if addr, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
		p.ours.Store(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), struct{}{})
	}
	p.conns.Add(1) // what it has just accepted is none yet, and in no queue any more
	defer p.conns.Done()
	f := &front{p: p, l: l, netns: netns, closed: closed}
	defer f.shut()
	var backoff time.Duration
	for {
		p.slots <- struct{}{}
		c, err := f.accept()
		if err == nil {
			backoff = 0
			f.learn(p.start(c, netns))
			continue
		}
		<-p.slots
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		// Out of descriptors or memory: the workloads wait in the backlog
		// while others finish; spinning would take the CPU from them.
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		p.o.OnDefect(err)
		time.Sleep(backoff)
	}
}

// accept waits for a connection.
func (f *front) accept() (*conn, error) {
	c := &conn{p: f.p}
	for f.door != nil {
		a, ok, err := f.door.Accept()
		if ok || err != nil {
			c.near = a
			return c, err
		}
		select {
		case <-f.door.Ready():
		case <-f.closed:
			return nil, net.ErrClosed
		}
	}
	raw, err := f.l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c.raw, c.near = raw, relay.Accepted{Local: addrPort(raw.LocalAddr()), Remote: addrPort(raw.RemoteAddr())}
	return c, nil
}

// learn chooses the way of the next connection.
func (f *front) learn(carried bool) {
	if !carried {
		f.carried = 0
		f.shut()
		return
	}
	if f.carried++; f.carried < enough || f.door != nil {
		return
	}
	door, err := f.p.relay.Open(f.l)
	if err != nil {
		f.carried = 0 // the relay or the listener is closed; net is asked, and tells
		return
	}
	f.door = door
}

// shut goes back to net.
func (f *front) shut() {
	if f.door != nil {
		f.door.Close()
		f.door = nil
	}
}

// start reports whether the relay has the connection.
func (p *Proxy) start(c *conn, netns uint64) (carried bool) {
	c.started = time.Now()
	c.attribute(netns)
	p.stats.Accepted.Add(1)
	p.mu.Lock()
	c.snap = p.snap.Load() // who has an older one is found by replace
	p.open[c] = struct{}{}
	p.watchLater()
	p.mu.Unlock()
	if c.await() {
		return true
	}
	c.land()
	p.crew.start(c)
	return false
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
