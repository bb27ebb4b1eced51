package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// TestPassthroughIsUndecrypted: the workload sees the origin's own certificate,
// and the record says no more than the name.
func TestPassthroughIsUndecrypted(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Passthrough, w.partnerRoute())
	c := tls.Client(w.dial(as{original: o.addr, pid: otherPID}), &tls.Config{ServerName: host, RootCAs: w.partner.pool()})
	if got := talk(t, c, plainGet); got != okResponse {
		t.Errorf("answer %q", got)
	}
	r := w.connection()
	if r.Decision != "passthrough" || r.Reason != "identity_mismatch" || r.SNI != host || r.BytesIn < 500 || r.BytesOut < 200 || r.Upstream.Port != o.addr.Port() {
		t.Errorf("record %+v", r)
	}
	if string(o.got()) != plainGet {
		t.Errorf("origin got %q", o.got())
	}
}

// TestServerSpeaksFirst: the greeting arrives although the workload waits for it,
// and no byte of either side is lost.
func TestServerSpeaksFirst(t *testing.T) {
	w := newWorld(t)
	o := newOrigin(t, nil, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 mail ready\r\n")
		all, _ := io.ReadAll(c)
		_, _ = c.Write(append([]byte("221 "), all...))
	})
	w.use(policy.Passthrough, w.partnerRoute())
	c := w.dial(as{original: o.addr})
	expectRead(t, c, "220 mail ready\r\n")
	if got := talk(t, c, "GET / HTTP/1.1\r\n"); got != "221 GET / HTTP/1.1\r\n" {
		t.Errorf("got %q", got)
	}
	if r := w.connection(); r.Decision != "passthrough" || r.Reason != "not_http" || r.BytesIn != 36 || r.BytesOut != 16 {
		t.Errorf("record %+v", r)
	}
}

// TestSilentWorkload: a pause before the ClientHello changes nothing of what
// becomes of it, whatever the default is.
func TestSilentWorkload(t *testing.T) {
	for _, def := range []policy.Action{policy.Passthrough, policy.Deny} {
		t.Run(def.String(), func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			w.use(def, w.partnerRoute())
			raw := w.dial(as{original: o.addr})
			time.Sleep(3 * within.Silence)
			if got := talk(t, tls.Client(raw, &tls.Config{ServerName: host, RootCAs: w.roots()}), plainGet); got != okResponse {
				t.Errorf("answer %q", got)
			}
			if !bytes.Contains(o.got(), []byte(canary)) {
				t.Error("not intercepted")
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		w := newWorld(t, func(o *options) { o.Timeouts.Hello = 300 * time.Millisecond })
		o := w.originFor(nil, host)
		w.use(policy.Deny, w.partnerRoute())
		if _, err := w.dial(as{original: o.addr}).Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read %v, want a reset", err)
		}
		if r := w.connection(); r.Decision != "deny" || r.Reason != "not_http" || o.accepted() > 0 {
			t.Errorf("record %+v, %d connections", r, o.accepted())
		}
	})
}

// TestServerEndsFirst: a server that closes at once is seen to.
func TestServerEndsFirst(t *testing.T) {
	w := newWorld(t)
	o := newOrigin(t, nil, func(net.Conn) {})
	w.use(policy.Passthrough)
	c := w.dial(as{original: o.addr})
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("%q, %v; want the end", got, err)
	}
	_ = c.Close()
	if r := w.connection(); r.Decision != "passthrough" {
		t.Errorf("record %+v", r)
	}
}

// TestHalfClose: each side may end on its own.
func TestHalfClose(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	w := newWorld(t)
	o := newOrigin(t, nil, func(c net.Conn) { // answers only after the end of the question
		all, _ := io.ReadAll(c)
		_, _ = c.Write(all)
	})
	w.use(policy.Passthrough)
	c := w.dial(as{original: o.addr})
	if got := talk(t, c, "\x00\x01"+big); got != "\x00\x01"+big {
		t.Errorf("%d bytes came back of %d", len(got), len(big)+2)
	}
	if r := w.connection(); r.BytesIn != int64(len(big)+2) || r.BytesOut != r.BytesIn {
		t.Errorf("record %+v", r)
	}
}

// TestBrokenPassthrough: a side that breaks resets the other, and the record
// counts what had been passed on.
func TestBrokenPassthrough(t *testing.T) {
	w := newWorld(t)
	o := newOrigin(t, nil, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 5))
		_, _ = io.WriteString(c, "half")
		_ = c.(*tapped).Conn.(*net.TCPConn).SetLinger(0)
	})
	w.use(policy.Passthrough)
	c := w.dial(as{original: o.addr})
	_, _ = io.WriteString(c, "\x00four")
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("%q and a clean end, want a reset", got)
	}
	if r := w.connection(); r.Decision != "passthrough" || r.BytesOut != 5 || r.BytesIn > 4 {
		t.Errorf("record %+v", r)
	}
}

// TestPassthroughAtClose: a connection may end while the proxy drains; one that
// does not is reset. Both have their record.
func TestPassthroughAtClose(t *testing.T) {
	for _, ends := range []bool{true, false} {
		w := newWorld(t, func(o *options) {
			if ends {
				o.Timeouts.Drain = time.Minute
			}
		})
		o := newOrigin(t, nil, func(c net.Conn) { _, _ = io.Copy(c, c) })
		w.use(policy.Passthrough)
		c := w.dial(as{original: o.addr})
		_, _ = io.WriteString(c, "\x00")
		expectRead(t, c, "\x00")
		_ = w.ln.Close()
		closed := make(chan struct{})
		go func() { _ = w.proxy.Close(); close(closed) }()
		if ends {
			if got := talk(t, c, "more"); got != "more" {
				t.Errorf("got %q", got)
			}
		} else if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read %v, want a reset", err)
		}
		<-closed
		if r := w.connection(); r.Decision != "passthrough" || r.BytesIn != r.BytesOut || (r.BytesIn == 5) != ends {
			t.Errorf("record %+v", r)
		}
	}
}

// TestPassthroughEgress: from the address that the route asks for; if this host
// does not have it, from none.
func TestPassthroughEgress(t *testing.T) {
	for egress, reason := range map[string]string{"127.0.0.7": "", "192.0.2.7": "egress_unavailable", "::1": "egress_unavailable"} {
		t.Run(egress, func(t *testing.T) {
			from := make(chan string, 1)
			w := newWorld(t)
			o := w.originFor(func(c net.Conn) {
				from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
				_, _ = io.WriteString(c, okResponse)
			}, host)
			profile := *w.profile("pinned")
			profile.EgressIP = netip.MustParseAddr(egress)
			w.use(policy.Passthrough, rule{
				policy.Route{Name: "pinned", Action: policy.Passthrough, To: policy.To{Hosts: hosts(t, host)}}, proxy.Plan{Upstream: &profile},
			})
			c := tls.Client(w.dial(as{original: o.addr}), &tls.Config{ServerName: host, RootCAs: w.partner.pool()})
			if got := talk(t, c, plainGet); (got == okResponse) != (reason == "") {
				t.Errorf("answer %q", got)
			}
			r := w.connection()
			if r.Reason != reason || r.Route != "pinned" || (r.EgressIP == egress) != (reason == "") {
				t.Errorf("record %+v", r)
			}
			if reason != "" && o.accepted() > 0 {
				t.Errorf("%d connections", o.accepted())
			}
			if reason == "" && <-from != egress {
				t.Error("from another address")
			}
		})
	}
}

// TestDeadOrigin: what the workload would have seen.
func TestDeadOrigin(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	dead := netip.MustParseAddrPort(ln.Addr().String())
	must(t, ln.Close())
	w := newWorld(t)
	w.use(policy.Passthrough)
	if c, err := w.tryDial(as{original: dead}); err == nil { // else the reset was faster than connect()
		wantReset(t, c, "\x00opaque")
	}
	if r := w.connection(); r.Reason != "upstream_unreachable" {
		t.Errorf("record %+v", r)
	}
}

// TestUnattributed is D9: no record of the connect, or one that leads to
// ourselves: reset, a record, and nothing dialled.
func TestUnattributed(t *testing.T) {
	for reason, who := range map[string]as{"no_record": {unknown: true}, "loop": {}} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.use(policy.Passthrough)
			who.original = addrOf(w.ln)
			if c, err := w.tryDial(who); err == nil { // else the reset was faster than connect()
				wantReset(t, c, plainGet)
			}
			if r := w.connection(); r.Decision != "deny" || r.Reason != reason {
				t.Errorf("record %+v", r)
			}
			if n := w.proxy.Stats().Accepted.Load(); n != 1 {
				t.Errorf("%d connections accepted, want 1", n)
			}
		})
	}
}

// wantReset says something and wants the connection to end in an error. Whoever
// meets the reset first takes it from the socket: after a write that failed, a
// read finds a mere end.
func wantReset(t testing.TB, c net.Conn, say string) {
	t.Helper()
	if _, err := io.WriteString(c, say); err != nil {
		return
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read %v, want a reset", err)
	}
}

func addrOf(l net.Listener) netip.AddrPort { return netip.MustParseAddrPort(l.Addr().String()) }

// TestDeniedConnections are reset before a byte of them leaves.
func TestDeniedConnections(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Passthrough, rule{route: policy.Route{Name: "no", Action: policy.Deny, To: policy.To{Hosts: hosts(t, host)}}})
	if _, err := w.tryTLS(as{original: o.addr}, host); err == nil {
		t.Error("handshake done")
	}
	if r := w.connection(); r.Decision != "deny" || r.Reason != "route_denies" || r.Route != "no" || r.SNI != host || o.accepted() > 0 {
		t.Errorf("record %+v, %d connections", r, o.accepted())
	}
}

// TestModes: observe changes nothing, report does all but refuse.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(*rule)
		credential bool
		decision   string
		reason     string
	}{
		{"observe a credential", func(r *rule) { r.route.Mode = policy.Observe }, false, "intercept", ""},
		{"report a credential", func(r *rule) { r.route.Mode = policy.Report }, true, "intercept", ""},
		{"observe a denial", func(r *rule) { r.route.Mode, r.route.Action = policy.Observe, policy.Deny }, false, "deny", "route_denies"},
		{"report a denial", func(r *rule) { r.route.Mode, r.route.Action = policy.Report, policy.Deny }, false, "deny", "route_denies"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			// The path makes it a decision about the request; the first route has
			// the connection intercepted.
			w.use(policy.Intercept,
				rule{policy.Route{Name: "other", Action: policy.Intercept, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/other")}}, proxy.Plan{Upstream: w.profile("other")}},
				w.partnerRoute(c.change, func(r *rule) { r.route.To.Paths = paths(t, "/v1/**") }))
			if got := w.say(o, plainGet); got != okResponse {
				t.Errorf("answer %q", got)
			}
			if has := bytes.Contains(o.got(), []byte(canary)); has != c.credential {
				t.Errorf("credential %v, want %v", has, c.credential)
			}
			if r := w.request(); r.Decision != c.decision || r.Reason != c.reason || r.Route != "partner" || r.Status != 200 {
				t.Errorf("record %+v", r)
			}
		})
	}
}
