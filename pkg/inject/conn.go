package inject

import (
	"context"
	"net"
	"time"
	"unique"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/upstream"
	"github.com/outwarden/outwarden/pkg/wire"
)

// Upstreams are connections to origins on which nothing can be sent but what was
// judged: what they give is a Conn, and that asks for a Sealed request.
type Upstreams struct{ pool *upstream.Pool }

// Over are the connections of a pool.
func Over(pool *upstream.Pool) Upstreams { return Upstreams{pool} }

// Get is upstream.Pool.Get.
func (u Upstreams) Get(ctx context.Context, t *upstream.Target) (Conn, error) {
	up, err := u.pool.Get(ctx, t)
	return Conn{up}, err
}

// Dial is upstream.Pool.Dial.
func (u Upstreams) Dial(ctx context.Context, t *upstream.Target) (Conn, error) {
	up, err := u.pool.Dial(ctx, t)
	return Conn{up}, err
}

// Ready is upstream.Pool.Ready; the zero Conn: there is none.
func (u Upstreams) Ready(t *upstream.Target) Conn { return Conn{u.pool.Ready(t)} }

// Protocol is upstream.Pool.Protocol.
func (u Upstreams) Protocol(key upstream.Key, offered []string) (alpn string, fresh bool) {
	return u.pool.Protocol(key, offered)
}

// Part is upstream.Pool.Part.
func (u Upstreams) Part(apart uint64) { u.pool.Part(apart) }

// Put gives a connection back.
func (u Upstreams) Put(c Conn) { u.pool.Put(c.up) }

// Conn is one connection to an upstream. The zero Conn is none. It can be read and
// closed as an upstream.Conn can; what writes to it are Send and Open.
type Conn struct{ up *upstream.Conn }

// IsZero reports whether there is no connection.
func (c Conn) IsZero() bool { return c.up == nil }

// Facts is what is known of the connection.
func (c Conn) Facts() *upstream.Facts { return &c.up.Facts }

// Peer is the part of the facts that records tell, cheap to compare.
func (c Conn) Peer() unique.Handle[upstream.Peer] { return c.up.Peer }

// Wire is the connection beneath TLS.
func (c Conn) Wire() *wire.Conn { return c.up.Wire() }

// Read reads from the upstream.
func (c Conn) Read(p []byte) (int, error) { return c.up.Read(p) }

// Blame is upstream.Conn.Blame.
func (c Conn) Blame(err error) string { return c.up.Blame(err) }

// Reused reports whether the connection served somebody before.
func (c Conn) Reused() bool { return c.up.Reused() }

// Close gives the connection back for good.
func (c Conn) Close() error { return c.up.Close() }

// KeptFor is upstream.Conn.KeptFor.
func (c Conn) KeptFor(d time.Duration) { c.up.KeptFor(d) }

// Multiplexed reports whether the connection speaks HTTP/2.
func (c Conn) Multiplexed() bool { return c.up.H2() != nil }

// Send writes an HTTP/1 head, and what of the content stands behind it. What is
// returned takes the rest of the content, and after an upgrade all there is to say;
// it is nil where the request was not sealed for this connection (ErrPermit).
func (c Conn) Send(s Sealed) (rest net.Conn, n int, err error) {
	if !s.isFor(c) {
		return nil, 0, ErrPermit
	}
	n, err = c.up.Write(s.head.Bytes)
	return c.up, n, err
}

// Open begins a stream with an HTTP/2 head. end says that there is no content.
func (c Conn) Open(b *h2.Batch, h h2.Handler, s Sealed, end bool) (*h2.Stream, error) {
	if !s.isFor(c) {
		return nil, ErrPermit
	}
	return c.up.H2().Open(b, h, s.head.Fields, end)
}

// Head is what leaves: Bytes in HTTP/1, with what is here of the content, Fields
// in HTTP/2.
type Head struct {
	Bytes  []byte
	Fields []hpack.HeaderField
}

// Sealed is a request that nothing changes any more, and the right to send it on
// the connection that it was judged for. Apply and Anonymous alone make one; the
// zero Sealed cannot be sent.
type Sealed struct {
	on   *upstream.Facts
	head Head
}

func (s Sealed) isFor(c Conn) bool { return s.on != nil && c.up != nil && s.on == &c.up.Facts }

// Anonymous seals a request that carries nothing of ours, and wants a connection
// that is nobody either: made for no credential, without a client certificate and
// from no egress IP.
func Anonymous(c Conn, m Message) (Sealed, error) {
	f := c.Facts()
	if f.Key.Credentials != "" || f.ClientCert != [32]byte{} || f.EgressIP.IsValid() {
		return Sealed{}, flow.ReasonPoolMismatch
	}
	return seal(f, m)
}

func seal(on *upstream.Facts, m Message) (Sealed, error) {
	head, err := m.Seal()
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{on, head}, nil
}
