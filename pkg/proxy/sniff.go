package proxy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/clienthello"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/relay"
)

// protocol is what the first bytes of a connection are.
type protocol uint8

const (
	protoOpaque protocol = iota
	protoTLS
	protoHTTP1
	protoHTTP2 // cleartext, by prior knowledge (RFC 9113 section 3.3)
)

// httpPort is where everything that is not TLS is taken for HTTP, so that a
// malformed request is refused and not carried as opaque bytes.
const httpPort = 80

var http2Preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// sniff peeks until it knows the protocol. It reports whether the connection
// goes on.
func (c *conn) sniff() bool {
	c.peek = clienthello.NewConnAfter(c.wire, c.heard)
	c.heard = nil
	b, err := c.firstBytes()
	for ; err == nil; b, err = c.peek.Fill() {
		known, ok := c.classify(b)
		if !ok {
			return false
		}
		if known {
			_ = c.raw.SetReadDeadline(time.Time{})
			return true
		}
	}
	return c.endSniff(b, err)
}

// errHandled ends the sniffing of a connection that somebody else took care of.
var errHandled = errors.New("handled")

// firstBytes returns what the workload says first. Silence may mean that it
// waits for the server to speak (SMTP, MySQL, SSH). It is not taken for opaque
// because of a pause, as what it says later would then go unseen: only a
// server that speaks settles it.
func (c *conn) firstBytes() (b []byte, err error) {
	b = c.peek.Peeked()
	if len(b) == 0 && !c.silent {
		_ = c.raw.SetReadDeadline(time.Now().Add(c.p.o.Timeouts.Silence))
		b, err = c.peek.Fill()
		c.silent = errors.Is(err, os.ErrDeadlineExceeded) && len(b) == 0
	}
	if c.silent {
		b, err = c.awaitEitherSide()
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(c.p.o.Timeouts.Hello))
	return b, err
}

// classify sets proto (and hello) from the bytes seen so far. known is false
// while more are wanted; ok is false when the connection was refused.
func (c *conn) classify(b []byte) (known, ok bool) {
	switch {
	case clienthello.IsTLS(b):
		h, err := clienthello.Parse(b)
		if errors.Is(err, clienthello.ErrIncomplete) {
			return false, true
		}
		if err == nil && c.astray(&h) {
			err = errAstray
		}
		if err != nil {
			c.refuseHello(err)
			return false, false
		}
		c.proto, c.hello = protoTLS, h
	case bytes.HasPrefix(b, http2Preface):
		c.proto = protoHTTP2
	case len(b) < len(http2Preface) && bytes.HasPrefix(http2Preface, b):
		return false, true
	default:
		http1, enough := looksLikeHTTP1(b)
		if http1 = http1 || enough && c.flow.Original.Port() == httpPort; http1 {
			c.proto = protoHTTP1
		}
		return enough, true
	}
	return true, true
}

// Alert unrecognized_name (RFC 8446 section 6.2).
const unrecognizedName = 112

var (
	errAstray = &clienthello.Error{Alert: unrecognizedName, Detail: "server name is another address than the one connected to"}
	errDotted = &clienthello.Error{Alert: unrecognizedName, Detail: "server name ends in a dot, so the connection can't be intercepted"}
)

// astray reports whether a hello names another address than it went to: one reader
// would go by this one, and one by that.
func (c *conn) astray(h *clienthello.Hello) bool {
	return h.Address.IsValid() && h.Address != c.flow.Original.Addr().Unmap()
}

const emptyLines = "\r\n"

// looksLikeHTTP1 wants a method token, a space and a byte that may begin a
// request target. Strange requests are still HTTP here: the strict parser
// refuses them with a reason. So are those behind empty lines, which many servers skip.
func looksLikeHTTP1(b []byte) (yes, enough bool) {
	const longestMethod = 32
	b = bytes.TrimLeft(b, emptyLines)
	for i, ch := range b {
		switch {
		case ch == ' ':
			return i > 0 && i+1 < len(b) && b[i+1] > ' ', i+1 < len(b) || i == 0
		case i >= longestMethod, (ch < 'A' || ch > 'Z') && ch != '-' && ch != '_':
			return false, true
		}
	}
	return false, false
}

// endSniff handles a client that left, or stalled, before the protocol was
// known. What it said is opaque; with nothing said there is nothing to carry.
func (c *conn) endSniff(b []byte, err error) bool {
	if errors.Is(err, errHandled) {
		return false
	}
	reason := flow.ReasonWorkloadClosed
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = flow.ReasonWorkloadTimeout
	}
	if len(b) > 0 && !clienthello.IsTLS(b) && reason == flow.ReasonWorkloadClosed {
		if c.flow.Original.Port() == httpPort || len(bytes.TrimLeft(b, emptyLines)) == 0 {
			c.proto = protoHTTP1 // the parser says what is missing
		}
		_ = c.raw.SetReadDeadline(time.Time{})
		return true
	}
	c.recordConnection(&audit.Record{Decision: policy.Deny.String(), Reason: reason.String()})
	return false
}

// refuseHello answers a malformed ClientHello with the alert that RFC 8446
// section 6.2 names for what is wrong, and closes.
func (c *conn) refuseHello(err error) {
	const decodeError = 50
	alert := uint8(decodeError)
	if e, ok := errors.AsType[*clienthello.Error](err); ok {
		alert = e.Alert
	}
	_, _ = c.raw.Write([]byte{21, 3, 3, 0, 2, 2, alert})
	c.p.stats.Refused.Add(1)
	c.recordConnection(&audit.Record{
		SNI: c.hello.ServerName, Route: c.decision.Name, Decision: policy.Deny.String(), Reason: flow.ReasonBadHello.String(),
	})
	c.goodbye()
}

// awaitEitherSide dials the original destination and waits for whoever speaks
// first. A server's greeting means an opaque protocol; a client's bytes go on
// to the classifier as if nothing had happened.
func (c *conn) awaitEitherSide() ([]byte, error) {
	if c.decideUnknown(flow.ReasonNotHTTP) == policy.Deny {
		return c.awaitName()
	}
	up, err := c.connectOriginal()
	if err != nil {
		c.failPassthrough(err)
		return nil, errHandled
	}
	defer up.Close()
	_ = c.raw.SetReadDeadline(time.Now().Add(c.p.o.Timeouts.Idle))
	first := make(chan greeting, 1)
	go func() { first <- c.listenTo(up) }()
	b, err := c.peek.Fill()
	_ = up.SetReadDeadline(longAgo)
	if g := <-first; len(g.said) > 0 || g.ended && len(b) == 0 {
		c.serverFirst(up, g.said)
		return nil, errHandled
	}
	return b, err
}

func (c *conn) connectOriginal() (*os.File, error) {
	socket, err := c.p.o.Dial(c.egressIP(), c.flow.Original, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.p.ctx, c.p.o.Timeouts.Hello)
	defer cancel()
	return relay.Connected(ctx, socket)
}

// awaitName waits on for a workload that may only go on if it says a name that
// a route allows: no server is there to speak to it.
func (c *conn) awaitName() ([]byte, error) {
	_ = c.raw.SetReadDeadline(time.Now().Add(c.p.o.Timeouts.Hello))
	b, err := c.peek.Fill()
	if len(b) == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		c.deny()
		return nil, errHandled
	}
	return b, err
}

// greeting is what a server did while nobody spoke to it.
type greeting struct {
	said  []byte
	ended bool
}

// listenTo reads once from up, and wakes who waits for the workload if that
// brought anything, an end included.
func (c *conn) listenTo(up *os.File) greeting {
	buf := make([]byte, 4096)
	n, err := up.Read(buf)
	g := greeting{buf[:n], err != nil && !errors.Is(err, os.ErrDeadlineExceeded)}
	if n > 0 || g.ended {
		_ = c.raw.SetReadDeadline(longAgo)
	}
	return g
}

// longAgo as a deadline wakes a blocked Read or Write.
var longAgo = time.Unix(1, 0)

// serverFirst carries an opaque connection whose server spoke first.
func (c *conn) serverFirst(up *os.File, greeting []byte) {
	far, err := relay.Take(up)
	if err != nil {
		c.failPassthrough(err)
		return
	}
	c.carry(relay.End{Socket: far, Said: greeting})
}
