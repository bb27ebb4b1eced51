package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

// seat is where a ticket comes from or is tried.
type seat struct{ name, alpn string }

// TestTicketsBelongToOneName is scorecard B6: a ticket is good for the name, and
// the protocol, that it was given for, and for nothing else. The client here
// offers it anyway: crypto/tls's own would not for another name.
func TestTicketsBelongToOneName(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			w := newTicketWorld(t, version)
			seats := []seat{{host, "http/1.1"}, {host, "h2"}, {"www.example.com", "http/1.1"}, {"www.example.com", "h2"}, {"example.com", "h2"}}
			for _, from := range seats {
				_, ticket := w.handshake(from, nil)
				for _, to := range seats {
					if resumed, _ := w.handshake(to, ticket); resumed != (from == to) {
						t.Errorf("a ticket of %v is tried for %v: resumed %v", from, to, resumed)
					}
				}
			}
		})
	}
}

// TestTicketsEndWithTheirAuthority: after a rotation the workload sees the new
// chain, also if it has a ticket.
func TestTicketsEndWithTheirAuthority(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, alpn := range []string{"http/1.1", "h2"} {
			w := newTicketWorld(t, version)
			at := seat{host, alpn}
			_, ticket := w.handshake(at, nil)
			if resumed, _ := w.handshake(at, ticket); !resumed {
				t.Error("no resumption before the rotation")
			}
			must(t, w.ca.Rotate())
			w.proxy.ForgetTickets()
			resumed, ticket := w.handshake(at, ticket)
			if resumed {
				t.Error("a ticket outlived its authority")
			}
			if resumed, _ = w.handshake(at, ticket); !resumed {
				t.Error("no resumption after the rotation")
			}
		}
	}
}

// TestDamagedTickets lead to a full handshake, and not to a failure.
func TestDamagedTickets(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newTicketWorld(t, version)
		at := seat{host, "http/1.1"}
		_, whole := w.handshake(at, nil)
		ticket, state, err := whole.ResumptionState()
		must(t, err)
		for i := 0; i < len(ticket); i += 7 {
			damaged := bytes.Clone(ticket)
			damaged[i] ^= 0x10
			session, err := tls.NewResumptionState(damaged, state)
			must(t, err)
			if resumed, _ := w.handshake(at, session); resumed {
				t.Errorf("%s: resumed with byte %d of the ticket changed", tls.VersionName(version), i)
			}
		}
	}
}

// ticketWorld is an interceptor whose clients say which ticket they offer.
type ticketWorld struct {
	*world
	o       *origin
	version uint16
}

func newTicketWorld(t *testing.T, version uint16) *ticketWorld {
	w := &ticketWorld{newWorld(t), nil, version}
	w.o = newOrigin(t, serving(w.partner.leaf(t, []string{host, "www.example.com", "example.com"})), nil)
	w.use(policy.Intercept)
	return w
}

// handshake offers a ticket, or none, and returns the next one.
func (w *ticketWorld) handshake(at seat, offer *tls.ClientSessionState) (resumed bool, next *tls.ClientSessionState) {
	w.t.Helper()
	cache := &oneSession{offer: offer}
	raw := &firstFlight{Conn: w.dial(as{original: w.o.addr})}
	c := tls.Client(raw, &tls.Config{
		ServerName: at.name, NextProtos: []string{at.alpn}, ClientSessionCache: cache, MaxVersion: w.version,
		InsecureSkipVerify: true, // or the client drops a session of another name
	})
	defer c.Close()
	must(w.t, c.Handshake())
	hello := "GET / HTTP/1.1\r\nHost: " + at.name + "\r\n\r\n"
	if at.alpn == "h2" {
		hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	}
	_, err := io.WriteString(c, hello)
	must(w.t, err)
	_, err = c.Read(make([]byte, 1)) // the ticket of TLS 1.3 came before this byte
	must(w.t, err)
	if got := c.ConnectionState().NegotiatedProtocol; got != at.alpn {
		w.t.Fatalf("negotiated %q, want %q", got, at.alpn)
	}
	if offer != nil {
		ticket, _, err := offer.ResumptionState()
		must(w.t, err)
		if !bytes.Contains(raw.sent, ticket) {
			w.t.Fatal("the ticket was not offered")
		}
	}
	if cache.next == nil {
		cache.next = offer // TLS 1.2 gives none when it resumes
	}
	return c.ConnectionState().DidResume, cache.next
}

// oneSession offers one session, whatever the name, and keeps the next.
type oneSession struct{ offer, next *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.offer, o.offer != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState)    { o.next = s }

// firstFlight keeps what was written first: the hello.
type firstFlight struct {
	net.Conn
	sent []byte
}

func (c *firstFlight) Write(p []byte) (int, error) {
	if c.sent == nil {
		c.sent = bytes.Clone(p)
	}
	return c.Conn.Write(p)
}
