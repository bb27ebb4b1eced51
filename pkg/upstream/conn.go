package upstream

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
	"unique"

	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/wire"
)

// Facts is what is known of a connection, for the binding invariant and the
// audit record. Nobody changes it once Get has returned.
type Facts struct {
	Key        Key
	Remote     netip.AddrPort // the address really dialled, read back from the socket
	Local      netip.AddrPort // our end
	EgressIP   netip.Addr     // the profile's source address, bound and read back; zero: none asked for
	Resolved   bool           // Remote is an answer of our resolver for Key.Host
	ServerName string         // the name the certificate was verified for; "" in clear text
	TLS        uint16         // tls.VersionTLS12 or newer; 0 in clear text
	Cipher     uint16         // TLS cipher suite; 0 in clear text
	ALPN       string         // what the upstream chose; "" if nothing
	Leaf       [32]byte       // SHA-256 of the upstream's certificate; zero in clear text
	ClientCert [32]byte       // SHA-256 of the client certificate presented; zero: none was
	Resumed    bool           // the TLS session was resumed (verified when it was made)
}

// Verified reports whether the upstream proved, over TLS 1.2 or newer, to be
// Key.Host.
func (f *Facts) Verified() bool {
	return f.TLS != 0 && f.ServerName != "" && f.ServerName == f.Key.Host
}

// Peer is what a record says of the other end of a connection, and of our place in
// it.
type Peer struct {
	Remote     netip.AddrPort
	EgressIP   netip.Addr
	TLS        uint16
	ALPN       string
	Leaf       [32]byte
	ClientCert [32]byte
}

func (f *Facts) peer() Peer { return Peer{f.Remote, f.EgressIP, f.TLS, f.ALPN, f.Leaf, f.ClientCert} }

// Conn is one connection to an upstream. One that speaks HTTP/1 (or anything but
// h2) belongs to one caller at a time; one that speaks h2 is shared. Every Conn
// that Get returned is given back by exactly one Put or one Close.
type Conn struct {
	netConn // *tls.Conn, or in clear text the wire itself; not for use when H2 is not nil
	Facts   Facts

	// Peer is of the Facts, in a form that is cheap to compare with another's.
	Peer unique.Handle[Peer]

	filled bool // the last Read filled its buffer: decrypted bytes may be left
	pool   *Pool
	wire   *wire.Conn
	h2     *h2.Conn
	gen    uint64 // the pool's generation when the dial began
	uses   atomic.Uint32
	auth   clientAuth
	rests  time.Duration // what KeptFor was told; negative: nothing
	heavy  bool          // too much to be kept while nobody uses it

	// Guarded by pool.mu.
	home    *bucket // that of Facts.Key; nil: it has none yet
	state   state
	streams int
	since   time.Duration // Pool.now of the last put
	until   time.Duration // Pool.now from when its upstream may have closed it
}

// netConn is embedded without being reachable, so that no Read passes by ours.
type netConn = net.Conn

type state uint8

const (
	busy state = iota
	idle
	spent // never handed out again
)

// H2 is the HTTP/2 side of the connection, nil if it speaks something else. One
// stream may be opened on it per Get.
func (c *Conn) H2() *h2.Conn { return c.h2 }

// Wire is the connection beneath TLS, or the whole of it in clear text, for feeding
// one by another.
func (c *Conn) Wire() *wire.Conn { return c.wire }

// TCP is the socket of a clear text connection, for splice(2); nil under TLS.
func (c *Conn) TCP() *net.TCPConn {
	if c.Facts.TLS != 0 {
		return nil
	}
	return c.wire.TCP()
}

// Read reads from the upstream.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.netConn.Read(p)
	c.filled = n == len(p)
	return n, err
}

// CloseWrite ends our direction: a close_notify under TLS, a FIN in clear text.
func (c *Conn) CloseWrite() error {
	return c.netConn.(interface{ CloseWrite() error }).CloseWrite()
}

// Reused reports whether the connection served somebody before: if the first
// write or read on it fails, the upstream may just have closed it meanwhile.
func (c *Conn) Reused() bool { return c.uses.Load() > 1 }

// KeptFor notes how long the upstream says that it keeps the connection while nobody uses
// it; negative: it does not say. It is asked before Put.
func (c *Conn) KeptFor(d time.Duration) { c.rests = d }

// Close gives the connection back for good. Streams of others on a shared
// connection still finish. The error is always nil; it is there for io.Closer.
func (c *Conn) Close() error {
	c.pool.release(c, false)
	return nil
}

// shut closes the sockets; nobody uses the connection any more.
func (c *Conn) shut() {
	if c.h2 != nil {
		c.h2.Shutdown()
		return
	}
	_ = c.netConn.Close()
}

// alive reports whether a connection from the pool is open and, if it is not
// shared, silent.
func (c *Conn) alive() bool {
	if c.h2 != nil {
		return c.h2.Alive()
	}
	if c.Facts.TLS == 0 {
		return c.wire.Silent()
	}
	filled := c.filled
	c.filled = false
	return c.wire.SilentUnder(c.netConn, filled)
}
