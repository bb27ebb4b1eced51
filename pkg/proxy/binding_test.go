package proxy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

const plainGet = "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"

func TestCredentialReachesThePartner(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Passthrough, w.partnerRoute())
	if got := w.say(o, plainGet); got != okResponse {
		t.Fatalf("answer %q", got)
	}
	want := "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + canary + "\r\n\r\n"
	if got := string(o.got()); got != want {
		t.Errorf("origin got %q, want %q", got, want)
	}
	intent, result := w.awaitKind("credential", 1)[0], w.request()
	if intent.Route != "partner" || len(intent.Credentials) != 1 || intent.Credentials[0].Name != "token" || intent.Status != 0 {
		t.Errorf("intent %+v", intent)
	}
	if result.Status != 200 || result.Reason != "" || result.Decision != "intercept" || result.Upstream.TLS != "1.3" ||
		result.Process.PID != appPID || result.BytesOut != int64(len(want)) || result.BytesIn != int64(len(okResponse)) {
		t.Errorf("result %+v", result)
	}
}

// TestUpstreamCertificates: an upstream that does not prove to be the partner
// gets no byte of a request, and the workload is told why (A1, A4, A6).
func TestUpstreamCertificates(t *testing.T) {
	other := newPartnerCA(t)
	day := 24 * time.Hour
	for _, c := range []struct {
		name, reason string
		config       func(*world) *tls.Config
	}{
		{"expired", "upstream_expired", spoiled(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(-2*day), time.Now().Add(-day) })},
		{"not yet valid", "upstream_expired", spoiled(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(day), time.Now().Add(2*day) })},
		{"other name", "upstream_name", spoiled(func(c *x509.Certificate) { c.DNSNames = []string{"www.example.com"} })},
		{"common name only", "upstream_name", spoiled(func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = host })},
		{"client usage only", "upstream_untrusted", spoiled(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		{"untrusted root", "upstream_untrusted", func(*world) *tls.Config { return serving(other.leaf(t, []string{host})) }},
		{"our own authority", "upstream_own_ca", func(w *world) *tls.Config {
			leaf, err := w.ca.Certificate(host)
			must(t, err)
			return serving(*leaf)
		}},
		{"TLS 1.1", "upstream_tls", func(w *world) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, []string{host})}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}},
		{"CBC suites", "upstream_tls", func(w *world) *tls.Config {
			return &tls.Config{
				Certificates: []tls.Certificate{w.partner.leaf(t, []string{host})}, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
			}
		}},
	} {
		for _, alpn := range []string{"http/1.1", "h2"} {
			t.Run(c.name+"/"+alpn, func(t *testing.T) {
				w := newWorld(t)
				w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				o := newOrigin(t, c.config(w), nil)
				w.use(policy.Passthrough, w.partnerRoute())
				status, reason := w.fetch(o, alpn, "GET", "https://"+host+"/v1/x")
				if status != http.StatusBadGateway || reason != c.reason {
					t.Errorf("workload got %d %s, want 502 %s", status, reason, c.reason)
				}
				if got := o.got(); len(got) > 0 {
					t.Errorf("origin got %q", got)
				}
				if r := w.request(); r.Reason != c.reason || r.Status != http.StatusBadGateway || len(r.Credentials) > 0 {
					t.Errorf("record %+v", r)
				}
			})
		}
	}
}

func serving(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: []string{"h2", "http/1.1"}}
}

func spoiled(change badly) func(*world) *tls.Config {
	return func(w *world) *tls.Config { return serving(w.partner.leaf(w.t, []string{host}, change)) }
}

// fetch makes one request by Go's client, over a connection that offers one
// protocol, and returns status and reason.
func (w *world) fetch(o *origin, alpn, method, url string) (status int, reason string) {
	w.t.Helper()
	res := w.do(o, alpn, mustRequest(w.t, method, url, nil))
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header.Get("Outwarden-Reason")
}

func mustRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	must(t, err)
	return r
}

// do sends one request on a connection of its own, which is opened for the
// request's host and ends with the test.
func (w *world) do(o *origin, alpn string, r *http.Request) *http.Response {
	w.t.Helper()
	return w.over(w.tls(as{original: o.addr}, r.URL.Hostname(), alpn), r)
}

func (w *world) over(c *tls.Conn, r *http.Request) *http.Response {
	w.t.Helper()
	res, err := w.roundTripper(c).RoundTrip(r)
	must(w.t, err)
	w.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// roundTripper speaks on c what was agreed there.
func (w *world) roundTripper(c *tls.Conn) http.RoundTripper {
	w.t.Helper()
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		cc, err := (&http2.Transport{DisableCompression: true}).NewClientConn(c)
		must(w.t, err)
		return cc
	}
	return oneConn(w.t, c)
}

// TestNamesMustAgree is C6: SNI, Host or :authority, an absolute target and the
// address connected to in all combinations. Only one of them may carry the
// credential, and only to where our resolver says.
func TestNamesMustAgree(t *testing.T) {
	w := newWorld(t)
	all := []string{host, "www.example.com", "api.example.org", "127.0.0.1", "sub." + host}
	partner := w.originFor(nil, host)
	evil := newOriginAt(t, "127.0.0.2:"+portOf(partner), &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, append(all, "127.0.0.2"))}}, nil)
	w.use(policy.Intercept, w.partnerRoute())
	forms := map[string]func(sni, name string) (status int){
		"host": func(sni, name string) int {
			return statusOf(w.send(partner, sni, "GET /v1/x HTTP/1.1\r\nHost: "+name+"\r\n\r\n"))
		},
		"absolute": func(sni, name string) int {
			return statusOf(w.send(partner, sni, "GET https://"+name+"/v1/x HTTP/1.1\r\nHost: "+name+"\r\n\r\n"))
		},
		"target": func(sni, name string) int {
			return statusOf(w.send(partner, sni, "GET https://"+name+"/v1/x HTTP/1.1\r\nHost: "+host+"\r\n\r\n"))
		},
		"elsewhere": func(sni, name string) int {
			there := strings.NewReplacer("127.0.0.1", "127.0.0.2") // a literal is where it connects to
			return statusOf(w.send(evil, there.Replace(sni), "GET /v1/x HTTP/1.1\r\nHost: "+there.Replace(name)+"\r\n\r\n"))
		},
		"port": func(sni, name string) int {
			return statusOf(w.send(partner, sni, "GET /v1/x HTTP/1.1\r\nHost: "+name+":1\r\n\r\n"))
		},
	}
	for form, send := range forms {
		for _, sni := range all {
			for _, name := range all {
				evilBefore := len(evil.got())
				status := send(sni, name)
				agree := sni == name && (form != "target" || name == host) && form != "port"
				if !agree && (status != http.StatusMisdirectedRequest && status != http.StatusBadRequest) {
					t.Errorf("%s: SNI %s, name %s: status %d", form, sni, name, status)
				}
				if agree && name == host && form != "elsewhere" && status != http.StatusOK {
					t.Errorf("%s: SNI %s, name %s: status %d, want 200", form, sni, name, status)
				}
				if !agree && len(evil.got()) != evilBefore {
					t.Errorf("%s: SNI %s, name %s: reached the other origin", form, sni, name)
				}
			}
		}
	}
	if bytes.Contains(evil.got(), []byte(canary)) {
		t.Error("the canary reached the address that the workload chose")
	}
	if !bytes.Contains(partner.got(), []byte(canary)) {
		t.Error("the canary never reached the partner")
	}
}

// TestNamesMustAgreeHTTP2 is C6 for :authority.
func TestNamesMustAgreeHTTP2(t *testing.T) {
	w := newWorld(t)
	all := []string{host, "www.example.com", "api.example.org", "127.0.0.1", "sub." + host}
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, all), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" && r.Host != host {
			t.Errorf("credential for %s", r.Host)
		}
	}))
	w.use(policy.Intercept, w.partnerRoute())
	for _, sni := range all {
		for _, name := range all {
			for _, field := range []string{"", name} {
				r := mustRequest(t, "GET", "https://"+name+"/v1/x", nil)
				if field != "" {
					r.URL.Host, r.Host = host, name
				}
				c := w.tls(as{original: o.addr}, sni, "h2")
				res := w.over(c, r)
				_ = c.Close()
				want := http.StatusMisdirectedRequest
				if sni == name {
					want = http.StatusOK
				}
				if res.StatusCode != want {
					t.Errorf("SNI %s, :authority %s: status %d, want %d", sni, name, res.StatusCode, want)
				}
			}
		}
	}
}

// send says one request on a connection for sni.
func (w *world) send(o *origin, sni, request string) string {
	w.t.Helper()
	return talk(w.t, w.tls(as{original: o.addr}, sni), request)
}

// statusOf is the status of a raw response; 0 for none.
func statusOf(response string) int {
	if len(response) < len("HTTP/1.1 200") || !strings.HasPrefix(response, "HTTP/1.1 ") {
		return 0
	}
	status := 0
	for _, c := range response[9:12] {
		status = 10*status + int(c-'0')
	}
	return status
}

// TestNoCredential holds what must never carry one, and what is said of it.
func TestNoCredential(t *testing.T) {
	for _, c := range []struct {
		name, request string
		who           as
		sni           string
		status        int
		reason        string // of the record
		clear         bool
	}{
		{name: "TRACE", request: "TRACE /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n", sni: host, status: 403, reason: "method_forbids"},
		{name: "OPTIONS", request: "OPTIONS /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n", sni: host, status: 403, reason: "method_forbids"},
		{name: "CONNECT", request: "CONNECT " + host + ":443 HTTP/1.1\r\nHost: " + host + ":443\r\n\r\n", sni: host, status: 421, reason: "authority_mismatch"},
		{name: "clear text", request: plainGet, clear: true, status: 403, reason: "cleartext"},
		{name: "wrong executable", request: plainGet, sni: host, who: as{pid: otherPID}, status: 200, reason: "identity_mismatch"},
		{name: "no SNI", request: "GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", status: 200, reason: "no_server_name"},
		{name: "literal address", request: "GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", clear: true, status: 200, reason: "no_route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			config := &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, []string{host, "127.0.0.1"})}}
			if c.clear {
				config = nil
			}
			o := newOrigin(t, config, nil)
			w.use(policy.Intercept, w.partnerRoute())
			c.who.original = o.addr
			var got string
			if c.clear {
				got = talk(t, w.dial(c.who), c.request)
			} else {
				got = talk(t, w.tlsFor(c.who, c.sni), c.request)
			}
			w.quiet()
			if statusOf(got) != c.status {
				t.Errorf("answer %q, want status %d", got, c.status)
			}
			if strings.Contains(string(o.got()), canary) {
				t.Error("the canary left")
			}
			if n := len(w.records.of("credential")); n > 0 {
				t.Errorf("%d intents", n)
			}
			records := append(w.records.of("request"), w.records.of("connection")...)
			if len(records) != 1 || records[0].Reason != c.reason {
				t.Errorf("records %+v, want reason %s", records, c.reason)
			}
		})
	}
}

// tlsFor is tls, without a name if sni is empty.
func (w *world) tlsFor(who as, sni string) *tls.Conn {
	w.t.Helper()
	if sni != "" {
		return w.tls(who, sni)
	}
	c := tls.Client(w.dial(who), &tls.Config{ServerName: "127.0.0.1", RootCAs: w.roots()})
	must(w.t, c.Handshake())
	return c
}

// TestAddressesOfTheResolver: what our resolver answers is checked against the
// deny ranges, and nothing else is dialled.
func TestAddressesOfTheResolver(t *testing.T) {
	for _, c := range []struct{ addr, reason string }{
		{"127.0.0.1", "address_denied"}, {"169.254.169.254", "address_denied"}, {"10.1.2.3", "address_denied"},
		{"::ffff:127.0.0.1", "address_denied"}, {"", "resolve_failed"},
	} {
		t.Run(c.addr, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			delete(w.names, host)
			if c.addr != "" {
				w.names[host] = []netip.Addr{netip.MustParseAddr(c.addr)}
			}
			w.use(policy.Intercept, w.partnerRoute(func(r *rule) {
				p := *r.plan.Upstream
				p.AllowPrivate = false
				r.plan.Upstream = &p
			}))
			if got := w.say(o, plainGet); statusOf(got) < 400 {
				t.Errorf("answer %q", got)
			}
			if r := w.request(); r.Reason != c.reason || o.accepted() > 0 {
				t.Errorf("record %+v, %d connections; want %s and none", r, o.accepted(), c.reason)
			}
		})
	}
}

// TestRedirectsGoBack is A10: nothing is followed, and nothing leads around us.
func TestRedirectsGoBack(t *testing.T) {
	for _, status := range []string{"301 Moved", "307 Temporary Redirect", "308 Permanent Redirect"} {
		t.Run(status, func(t *testing.T) {
			w := newWorld(t)
			elsewhere := w.originFor(nil, "www.example.com")
			location := "Location: https://www.example.com:" + portOf(elsewhere) + "/\r\n"
			o := w.originFor(answer("HTTP/1.1 "+status+"\r\n"+location+
				"Alt-Svc: h3=\":443\"\r\nalternate-protocol: 443:quic\r\nContent-Length: 0\r\n\r\n"), host)
			w.use(policy.Intercept, w.partnerRoute())
			want := "HTTP/1.1 " + status + "\r\n" + location + "Content-Length: 0\r\n\r\n"
			if got := w.say(o, plainGet); got != want {
				t.Errorf("answer %q, want %q", got, want)
			}
			if elsewhere.accepted() > 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}
