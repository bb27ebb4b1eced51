package proxy_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestKeyExchange: a workload of this host that has sent a key share of a curve gets
// that; any other, and a guest, what crypto/tls prefers. Nobody is asked twice.
func TestKeyExchange(t *testing.T) {
	for name, c := range map[string]struct {
		groups []tls.CurveID // nil: as Go's clients do, which send a share of both kinds
		guest  bool
		want   tls.CurveID
	}{
		"both kinds":                     {nil, false, tls.X25519},
		"post-quantum alone":             {[]tls.CurveID{tls.X25519MLKEM768}, false, tls.X25519MLKEM768},
		"a share of the first of two":    {[]tls.CurveID{tls.SecP256r1MLKEM768, tls.X25519}, false, tls.SecP256r1MLKEM768},
		"another curve":                  {[]tls.CurveID{tls.CurveP384}, false, tls.CurveP384},
		"P-256":                          {[]tls.CurveID{tls.CurveP256}, false, tls.CurveP256},
		"both kinds, of a guest":         {nil, true, tls.X25519MLKEM768},
		"post-quantum alone, of a guest": {[]tls.CurveID{tls.X25519MLKEM768}, true, tls.X25519MLKEM768},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			w.use(policy.Intercept)
			wire := &hellos{Conn: w.dial(as{original: o.addr, guest: c.guest})}
			client := tls.Client(wire, &tls.Config{ServerName: host, RootCAs: w.roots(), CurvePreferences: c.groups})
			must(t, client.Handshake())
			if got := client.ConnectionState().CurveID; got != c.want || wire.sent != 1 {
				t.Errorf("%v after %d hellos, want %v after one", got, wire.sent, c.want)
			}
			must(t, client.Close())
		})
	}
}

// hellos counts the handshake records that are sent in clear: those of TLS 1.3
// hold a ClientHello, a second one where the server has asked for another share.
type hellos struct {
	net.Conn
	sent int
}

func (c *hellos) Write(p []byte) (int, error) {
	if p[0] == 22 {
		c.sent++
	}
	return c.Conn.Write(p)
}
