package proxy_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

const smuggled = "GET /admin/secret HTTP/1.1\r\nHost: " + host + "\r\n\r\n"

// TestNoTunnelBehindARefusedUpgrade is C10: what follows an upgrade that nobody
// agreed to is a request like any other, decided and recorded on its own; no
// byte of it goes along unseen.
func TestNoTunnelBehindARefusedUpgrade(t *testing.T) {
	h2c := strings.NewReplacer("websocket", "h2c", "Connection: Upgrade", "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__")
	for name, first := range map[string]string{
		"websocket":          upgrade,
		"h2c":                h2c.Replace(upgrade),
		"TLS":                strings.ReplaceAll(upgrade, "websocket", "TLS/1.3"),
		"connect-udp":        strings.ReplaceAll(upgrade, "websocket", "connect-udp"),
		"websocket in 1.0":   strings.Replace(upgrade, "HTTP/1.1", "HTTP/1.0", 1),
		"made-up, no option": strings.ReplaceAll(strings.ReplaceAll(upgrade, "websocket", "x"), "Connection: Upgrade\r\n", ""),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host) // it answers 200, whatever is offered
			w.use(policy.Intercept,
				rule{route: policy.Route{Name: "admin", Action: policy.Deny, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/admin/**")}}},
				w.openRoute())
			got := w.say(o, first+smuggled)
			if bytes.Contains(o.got(), []byte("/admin")) {
				t.Errorf("origin got %q", o.got())
			}
			if name != "websocket" && bytes.Contains(bytes.ToLower(o.got()), []byte("upgrade")) {
				t.Errorf("the offer was forwarded: %q", o.got())
			}
			if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
				t.Errorf("answer %q", got)
			}
			if name == "websocket in 1.0" { // it ends with its only answer
				w.request()
				return
			}
			if !strings.Contains(got, "route_denies") {
				t.Errorf("answer %q", got)
			}
			if r := w.awaitKind("request", 2)[1]; r.Path != "/admin/secret" || r.Reason != "route_denies" || r.Decision != "deny" {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestNothingBeforeTheSwitch: what a workload says before 101 stays here, and is
// not handed on afterwards either.
func TestNothingBeforeTheSwitch(t *testing.T) {
	w := newWorld(t)
	asked, agree := make(chan struct{}), make(chan struct{})
	o := w.originFor(func(c net.Conn) {
		if !newReader(c).head() {
			return
		}
		close(asked)
		<-agree
		_, _ = io.WriteString(c, switched)
		_, _ = io.Copy(io.Discard, c)
	}, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, upgrade+smuggled)
	<-asked
	if got := string(o.got()); got != upgrade {
		t.Errorf("before 101 the origin has %q", got)
	}
	close(agree)
	got, _ := io.ReadAll(c)
	if statusOf(string(got)) != 400 || bytes.Contains(o.got(), []byte("/admin")) {
		t.Errorf("answer %q, origin %q", got, o.got())
	}
	if r := w.request(); r.Reason != "bad_request" || r.Decision != "deny" {
		t.Errorf("record %+v", r)
	}
}

// TestSwitchToAnotherProtocol: an upstream that agrees to what was not offered
// gets no tunnel.
func TestSwitchToAnotherProtocol(t *testing.T) {
	for name, response := range map[string]string{
		"h2c":        strings.ReplaceAll(switched, "websocket", "h2c"),
		"two":        strings.ReplaceAll(switched, "websocket", "websocket, h2c"),
		"none":       "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"not hop":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		"not stated": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(answer(response+"evil"), host)
			w.use(policy.Intercept, w.openRoute())
			if got := w.say(o, upgrade); statusOf(got) != 502 || strings.Contains(got, "evil") {
				t.Errorf("answer %q", got)
			}
			if r := w.request(); r.Reason != "upstream_response" || r.Status != 502 {
				t.Errorf("record %+v", r)
			}
		})
	}
}
