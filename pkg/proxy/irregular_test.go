package proxy_test

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

// helloFor is a ClientHello with a name that crypto/tls would not send.
func helloFor(t *testing.T, name string) []byte {
	t.Helper()
	stand := strings.Repeat("n", len(name))
	hello := clientHello(t, stand)
	if bytes.Count(hello, []byte(stand)) != 1 {
		t.Fatalf("%q is not in the hello once", stand)
	}
	return bytes.Replace(hello, []byte(stand), []byte(name), 1)
}

// TestIrregularNames: Node, Ruby and Python's http.client send a name with the root's dot,
// PHP and Ruby an address, and servers answer them. So these connections pass where they
// would without us; what names another address than it goes to does not.
func TestIrregularNames(t *testing.T) {
	const alert = "\x15\x03\x03\x00\x02\x02\x70"
	for name, c := range map[string]struct {
		sni                string
		def                policy.Action
		passes             bool
		recorded, decision string
		reason             string
	}{
		"dot":                 {"www.example.com.", policy.Passthrough, true, "www.example.com", "passthrough", "no_route"},
		"dot, denied":         {"denied.example.com.", policy.Passthrough, false, "denied.example.com", "deny", "route_denies"},
		"dot, intercepted":    {host + ".", policy.Passthrough, false, host, "deny", "bad_hello"},
		"address":             {"127.0.0.1", policy.Passthrough, true, "", "passthrough", "no_server_name"},
		"another address":     {"127.0.0.2", policy.Passthrough, false, "", "deny", "bad_hello"},
		"address, by default": {"127.0.0.1", policy.Deny, false, "", "deny", "no_server_name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := newOrigin(t, nil, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			w.use(c.def, w.partnerRoute(), rule{route: policy.Route{
				Name: "denied", Action: policy.Deny, To: policy.To{Hosts: hosts(t, "denied.example.com")},
			}})
			hello := helloFor(t, c.sni)
			got := talk(t, w.dial(as{original: o.addr}), string(hello))
			r := w.connection()
			if r.SNI != c.recorded || r.Decision != c.decision || r.Reason != c.reason {
				t.Errorf("record %+v", r)
			}
			if passed := bytes.Equal(o.got(), hello); passed != c.passes || c.reason == "bad_hello" && got != alert {
				t.Errorf("passed: %v, answer %q", passed, got)
			}
		})
	}
}

// TestInterceptedAddress: a client that sends an address for a name is answered in that
// address's.
func TestInterceptedAddress(t *testing.T) {
	origin := new(anyone)
	w := newWorld(t, func(o *options) { o.Flows = origin })
	origin.original.Store(w.originFor(nil, "127.0.0.1").addr)
	w.use(policy.Intercept)
	_, port, err := net.SplitHostPort(w.ln.Addr().String())
	must(t, err)
	client := exec.CommandContext(t.Context(), "openssl", "s_client", "-quiet", "-connect", "127.0.0.1:"+port, "-servername", "127.0.0.1",
		"-CAfile", w.caFile(), "-verify_return_error", "-verify_ip", "127.0.0.1")
	client.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
	out, err := client.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "HTTP/1.1 200 OK") {
		t.Errorf("%v: %s", err, out)
	}
	if r := w.request(); r.Status != 200 || r.Reason != "no_server_name" {
		t.Errorf("record %+v", r)
	}
}
