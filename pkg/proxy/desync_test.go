package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// openRoute intercepts host for everybody and puts nothing on a request.
func (w *world) openRoute() rule {
	return rule{
		policy.Route{Name: "open", Action: policy.Intercept, To: policy.To{Hosts: hosts(w.t, host)}},
		proxy.Plan{Upstream: w.profile("open")},
	}
}

// TestPipelining is C5: requests on one connection are decided and recorded each
// on its own, and answered in order.
func TestPipelining(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	secretPath := w.partnerRoute(func(r *rule) { r.route.To.Paths, r.route.To.Methods = paths(t, "/v1/**"), []string{"GET"} })
	w.use(policy.Intercept, secretPath)
	first := "GET /v1/a HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	second := "POST /v1/b HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc"
	third := "GET /v2/c?key=value HTTP/1.1\r\nhost: " + strings.ToUpper(host) + "\r\n\r\n"
	fourth := "GET /v1/d HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
	fifth := "GET /v1/never HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	got := w.say(o, first+second+third+fourth+fifth)
	if n := strings.Count(got, okResponse); n != 3 || !strings.Contains(got, "authority_mismatch") {
		t.Errorf("answers %q", got)
	}
	w.quiet()
	type line struct {
		method, path, host, route, reason string
		status                            int
	}
	want := []line{
		{"GET", "/v1/a", host, "partner", "", 200},
		{"POST", "/v1/b", host, "", "request_mismatch", 200},
		{"GET", "/v2/c?key=[redacted]", host, "", "request_mismatch", 200},
		{"GET", "/v1/d", "www.example.com", "", "authority_mismatch", 421},
	}
	records := w.awaitKind("request", len(want))
	for i, r := range records {
		if have := (line{r.Method, r.Path, r.Host, r.Route, r.Reason, r.Status}); have != want[i] && i != 3 || have.reason != want[i].reason {
			t.Errorf("record %d: %+v, want %+v", i, have, want[i])
		}
	}
	if n := bytes.Count(o.got(), []byte(canary)); n != 1 || bytes.Contains(o.got(), []byte("never")) {
		t.Errorf("origin got %q", o.got())
	}
}

// TestDecidedIsForwarded is C7: whatever the path's spelling, the bytes policy saw
// are those that leave, or the request is refused.
func TestDecidedIsForwarded(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Intercept,
		rule{route: policy.Route{Name: "admin", Action: policy.Deny, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/admin/**")}}},
		w.openRoute())
	targets := []string{
		"/v1/x", "/v1/%41", "/v1/%c3%a9", "/v1/a+b", "/v1/a;b=c", "/v1/x?y=../admin", "/v1/x?%2e%2e%2fadmin", "/v1/x?ids[]=1&q={a|b}^`\\", "/v1/x?query=up{job=\"api\"}<2>1", "/v1/~x", "/v1/%7Ex", "/ADMIN/x",
		"/admin", "/admin/", "/admin/x", "/v1/../admin/x", "/v1/%2e%2e/admin/x", "/v1/%2E./admin/x", "//admin/x", "/v1//x", "/%61dmin/x",
		"/admin%2fx", "/admin%5cx", "/v1/%00", "/v1/.", "/./admin/x", "/v1/..;/admin/x", "/v1/%252e%252e/admin", "/v1/x/..", "/admin;x/y",
	}
	for _, target := range targets {
		before := len(o.got())
		request := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		status := statusOf(w.say(o, request))
		forwarded := string(o.got()[before:])
		if status == 200 && forwarded != request || status != 200 && forwarded != "" {
			t.Errorf("%s: status %d, forwarded %q", target, status, forwarded)
		}
		if status == 200 && strings.HasPrefix(target, "/admin/") {
			t.Errorf("%s passed the route that denies it", target)
		}
	}
}

// TestOverride is C8: exactly the injected value reaches the partner, however the
// workload spells its own.
func TestOverride(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) {
		r.plan.Inject = credentials(t, inject.Credential{Name: "key", Form: inject.Header, Field: "X-Injected", Value: secret.New([]byte(canary))})
	}))
	for _, c := range []struct {
		fields string
		status int
	}{
		{"X-Injected: mine\r\n", 200},
		{"x-injected: mine\r\nX-INJECTED: mine\r\n", 200},
		{"X_Injected: mine\r\n", 200},
		{"X.Injected: mine\r\n", 200},
		{"X-Injected:mine\r\nX-Injected:\tmine\r\n", 200},
		{"Connection: X-Injected\r\n", 400},
		{"Connection: close, x-injected\r\n", 400},
		{"Connection: x_injected\r\nX-Injected: mine\r\n", 400},
		{"X-Injected : mine\r\n", 400},
		{"X-Injected: mine\r\n mine\r\n", 400},
		{"X-Big: " + strings.Repeat("a", 1<<20) + "\r\n", 431},
		{strings.Repeat("X: y\r\n", 300), 431},
	} {
		before := len(o.got())
		status := statusOf(w.say(o, "GET /v1/x HTTP/1.1\r\nHost: "+host+"\r\n"+c.fields+"\r\n"))
		forwarded := string(o.got()[before:])
		if status != c.status {
			t.Errorf("%.40q: status %d, want %d", c.fields, status, c.status)
		}
		if status != 200 && forwarded != "" || status == 200 && (strings.Count(forwarded, canary) != 1 || strings.Contains(forwarded, "mine")) {
			t.Errorf("%.40q: forwarded %q", c.fields, forwarded)
		}
	}
	body := "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX_Injected: mine\r\n\r\n"
	if status := statusOf(w.say(o, body)); status != 400 || bytes.Contains(o.got(), []byte("mine")) {
		t.Errorf("trailer: status %d, origin %q", status, o.got())
	}
}

// TestEmptyLinesBefore: a request behind empty lines, which many servers skip, is one for
// policy too. On no port does it pass as something that is no HTTP.
func TestEmptyLinesBefore(t *testing.T) {
	for name, before := range map[string]string{"one": "\r\n", "two": "\r\n\r\n", "bare": "\n", "many": strings.Repeat("\r\n", 40), "too many": strings.Repeat("\r\n", 100<<10)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			o := newOrigin(t, nil, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			w.use(policy.Passthrough, rule{route: policy.Route{Name: "no", Action: policy.Deny, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/v1/**")}}})
			got := talk(t, w.dial(as{original: o.addr}), before+plainGet)
			if status := statusOf(got); status != 400 && status != 403 {
				t.Errorf("answer %q", got)
			}
			w.quiet()
			if len(o.got()) > 0 {
				t.Errorf("origin got %q", o.got())
			}
		})
	}
}

// TestExpect is C9: who waits for 100 gets the upstream's, and an answer that
// comes instead ends the connection.
func TestExpect(t *testing.T) {
	head := "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	t.Run("continue", func(t *testing.T) {
		w := newWorld(t)
		o := w.originFor(func(c net.Conn) {
			r := newReader(c)
			if r.head() && len(r.buf) == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			}
			for len(r.buf) < 5 && r.more() {
			}
			_, _ = io.WriteString(c, okResponse)
		}, host)
		w.use(policy.Intercept, w.openRoute())
		c := w.tls(as{original: o.addr}, host)
		_, _ = io.WriteString(c, head)
		expectRead(t, c, "HTTP/1.1 100 Continue\r\n\r\n")
		_, _ = io.WriteString(c, "hello")
		expectRead(t, c, okResponse)
		if got := string(o.got()); got != head+"hello" {
			t.Errorf("origin got %q", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		const no = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
		o := w.originFor(answerEarly(no), host)
		w.use(policy.Intercept, w.openRoute())
		c := w.tls(as{original: o.addr}, host)
		_, _ = io.WriteString(c, head)
		if got, _ := io.ReadAll(c); string(got) != closing(no) {
			t.Errorf("answer %q", got)
		}
		if r := w.request(); r.Status != 417 {
			t.Errorf("record %+v", r)
		}
	})
}

// closing is a response without content that says that the connection ends.
func closing(response string) string {
	return strings.Replace(response, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
}

func expectRead(t testing.TB, c io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// TestEarlyAnswer: an upstream that answers before the end of a body is believed,
// and what was left of the body never becomes a request (0.CL).
func TestEarlyAnswer(t *testing.T) {
	w := newWorld(t)
	const full = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nfull"
	o := w.originFor(answerEarly(full), host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 100\r\n\r\n")
	expectRead(t, c, closing(full))
	_, _ = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("the connection went on with %q", rest)
	}
	w.quiet()
	if r := w.request(); r.Status != 413 || r.Reason != "" {
		t.Errorf("record %+v", r)
	}
}

// TestNoCrossTalk is C9: what an upstream says too much never meets another
// request.
func TestNoCrossTalk(t *testing.T) {
	for name, response := range map[string]string{
		"double response": okResponse + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"extra bytes":     okResponse + "evil",
		"body of 204":     "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"body of 304":     "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(answer(response), host)
			w.use(policy.Intercept, w.openRoute())
			c := w.tls(as{original: o.addr}, host)
			for range 3 {
				_, _ = io.WriteString(c, plainGet)
			}
			_ = c.CloseWrite()
			got, _ := io.ReadAll(c)
			if bytes.Contains(got, []byte("evil")) || bytes.Count(got, []byte("HTTP/1.1 ")) != 3 {
				t.Errorf("workload got %q", got)
			}
			if n := o.accepted(); n < 3 {
				t.Errorf("%d upstream connections, want one for each request", n)
			}
		})
	}
}

// TestHostileResponses is C12: of a response outside the grammar nothing reaches
// the workload.
func TestHostileResponses(t *testing.T) {
	for name, response := range map[string]string{
		"two lengths":       "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil!",
		"length and chunks": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
		"folded":            "HTTP/1.1 200 OK\r\nX: a\r\n evil\r\nContent-Length: 0\r\n\r\n",
		"bare LF":           "HTTP/1.1 200 OK\nX-Evil: evil\nContent-Length: 0\n\n",
		"bare CR":           "HTTP/1.1 200 OK\r\nX: a\rX-Evil: evil\r\nContent-Length: 0\r\n\r\n",
		"NUL":               "HTTP/1.1 200 OK\r\nX: evil\x00\r\nContent-Length: 0\r\n\r\n",
		"big head":          "HTTP/1.1 200 OK\r\nX: evil" + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 0\r\n\r\n",
		"bad chunk":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4x\r\nevil\r\n0\r\n\r\n",
		"unasked 101":       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n",
		"not HTTP":          "evil\r\n\r\n",
		"version":           "HTTP/2.0 200 OK\r\nX: evil\r\n\r\n",
		"space before :":    "HTTP/1.1 200 OK\r\nX : evil\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(answer(response), host)
			w.use(policy.Intercept, w.openRoute())
			got := w.say(o, plainGet+plainGet)
			if statusOf(got) != 502 || strings.Contains(got, "evil") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("workload got %.200q", got)
			}
			if r := w.request(); r.Reason != "upstream_response" || r.Status != 502 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestCutResponses: a response that breaks off must not look whole.
func TestCutResponses(t *testing.T) {
	for name, c := range map[string]struct {
		response, reason string
		status           int
	}{
		"in the head":  {"HTTP/1.1 200 OK\r\nContent-", "upstream_closed", 502},
		"nothing":      {"", "upstream_closed", 502},
		"in the body":  {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "upstream_closed", 200},
		"in a chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "upstream_closed", 200},
		"before a 100": {"HTTP/1.1 103 Early Hints\r\n\r\n", "upstream_closed", 502},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(func(conn net.Conn) {
				if newReader(conn).request() {
					_, _ = io.WriteString(conn, c.response)
				}
			}, host)
			w.use(policy.Intercept, w.openRoute())
			conn := w.tls(as{original: o.addr}, host)
			_, _ = io.WriteString(conn, plainGet)
			got, err := io.ReadAll(conn)
			if c.status == 200 && err == nil {
				t.Errorf("half a response ended well: %q", got)
			}
			if c.status != 200 && !strings.Contains(string(got), "HTTP/1.1 502 ") {
				t.Errorf("workload got %q", got)
			}
			if r := w.request(); r.Reason != c.reason || r.Status != c.status {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestKeptFor: where an upstream says how long it keeps an unused connection, no request
// meets the end of that: one that may not be sent again would be lost.
func TestKeptFor(t *testing.T) {
	const post = "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc"
	for name, c := range map[string]struct {
		seconds     string
		connections int
	}{"over": {"1", 2}, "never": {"0", 2}, "not over": {"300", 1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			response := "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=" + c.seconds + "\r\nContent-Length: 2\r\n\r\nok"
			o := w.originFor(func(conn net.Conn) {
				r := newReader(conn)
				for began := time.Now(); r.request() && (c.connections == 1 || time.Since(began) < 500*time.Millisecond); {
					_, _ = io.WriteString(conn, response)
				}
			}, host)
			w.use(policy.Intercept, w.partnerRoute())
			for range 2 {
				if got := w.say(o, post); got != okResponse {
					t.Errorf("answer %q", got)
				}
				time.Sleep(700 * time.Millisecond)
			}
			if n := o.accepted(); n != c.connections {
				t.Errorf("%d upstream connections, want %d", n, c.connections)
			}
		})
	}
}

// TestRetry: a request goes again over a fresh connection where the pooled one
// broke before a byte of a response, if it may and all of it is still here.
func TestRetry(t *testing.T) {
	body := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"GET", plainGet, 200},
		{"PUT", "PUT /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc", 200},
		{"POST", "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\n\r\nabc", 502},
		{"streamed PUT", "PUT /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 102400\r\n\r\n" + body, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(func(conn net.Conn) { // every connection breaks on its second request
				r := newReader(conn)
				if r.request() {
					_, _ = io.WriteString(conn, okResponse)
				}
				_ = r.request()
			}, host)
			w.use(policy.Intercept, w.partnerRoute())
			if got := w.say(o, plainGet); got != okResponse {
				t.Fatal(got)
			}
			if got := w.say(o, c.request); statusOf(got) != c.status {
				t.Errorf("answer %q, want %d", got, c.status)
			}
			w.quiet()
			intents := 1 + 1
			if c.status == 200 {
				intents++ // the retry asked afresh
			}
			if n := len(w.records.of("credential")); n != intents {
				t.Errorf("%d intents, want %d", n, intents)
			}
			if n := bytes.Count(o.got(), []byte(canary)); n != intents {
				t.Errorf("%d credentials at the origin, want %d", n, intents)
			}
		})
	}
}
