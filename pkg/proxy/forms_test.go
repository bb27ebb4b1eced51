package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// put is a credential whose value is the canary.
func put(form inject.Form, field string) inject.Credential {
	return inject.Credential{Name: "token", Version: "1", Form: form, Field: field, Segment: 2, Value: secret.New([]byte(canary))}
}

// seen is an origin that tells what it got, and how long it was told the content is.
func (w *world) seen(t testing.TB) *origin {
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	return newHTTPOrigin(t, w.partner.leaf(t, []string{host, "other.example.com"}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				body, _ = io.ReadAll(z)
			}
		}
		fmt.Fprintf(rw, "%s|%s|%s|%s|%d", r.RequestURI, r.Header.Get("Cookie"), r.Header.Get("X-Key"), body, r.ContentLength)
	}))
}

// TestFormsOnTheWire puts a credential into every place, over both versions, with
// content of a known length and without.
func TestFormsOnTheWire(t *testing.T) {
	const multipartBody = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n"
	for name, c := range map[string]struct {
		put         inject.Credential
		kind, body  string
		gzip        bool
		want        string // of the answer, CANARY for the canary
		status      int
		reason      string
		wholeLength bool // the length that the origin is told is right
	}{
		"cookie":       {put: put(inject.Cookie, "sid"), want: "/a/b?c=%2f|sid=CANARY; x=1|||0", status: 200},
		"path":         {put: put(inject.Path, ""), want: "/a/CANARY?c=%2f|x=1; sid=mine|||0", status: 200},
		"json":         {put: put(inject.JSON, "/k"), kind: "application/json", body: `{"a": 1.0, "k":"x"}`, want: `|{"a": 1.0, "k":"CANARY"}|`, status: 200, wholeLength: true},
		"json gzipped": {put: put(inject.JSON, "/k"), kind: "application/json", body: `{"a": 1.0}`, gzip: true, want: `|{"a": 1.0,"k":"CANARY"}|`, status: 200, wholeLength: true},
		"form":         {put: put(inject.FormField, "k"), kind: "application/x-www-form-urlencoded", body: "a=1&k=2", want: "|a=1&k=CANARY|", status: 200, wholeLength: true},
		"multipart":    {put: put(inject.FormField, "k"), kind: "multipart/form-data; boundary=b", body: multipartBody, want: "|--b\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nCANARY\r\n--b\r\n", status: 200, wholeLength: true},
		"wrong type":   {put: put(inject.JSON, "/k"), kind: "text/plain", body: `{}`, status: 415, reason: "body_unsuitable"},
		"too large":    {put: put(inject.JSON, "/k"), kind: "application/json", body: `{"a":"` + strings.Repeat("x", 60_000) + `"}`, status: 413, reason: "body_too_large"},
		"far too much": {put: put(inject.JSON, "/k"), kind: "application/json", body: `{"a":"` + strings.Repeat("x", 600_000) + `"}`, status: 413, reason: "body_too_large"},
		"no body":      {put: put(inject.JSON, "/k"), status: 415, reason: "body_unsuitable"},
	} {
		for _, alpn := range versions {
			for _, length := range []bool{true, false} {
				t.Run(fmt.Sprint(name, " ", alpn, " length ", length), func(t *testing.T) {
					w := newWorld(t)
					o := w.seen(t)
					w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject, r.plan.EditedBody = credentials(t, c.put), 50_000 }))
					var body io.Reader
					if c.body != "" {
						sent := c.body
						if c.gzip {
							sent = gzipText(sent)
						}
						if body = strings.NewReader(sent); !length {
							body = io.MultiReader(body)
						}
					}
					r := mustRequest(t, "POST", "https://"+host+"/a/b?c=%2f", body)
					r.Header.Set("Cookie", "x=1; sid=mine")
					if c.kind != "" {
						r.Header.Set("Content-Type", c.kind)
					}
					if c.gzip {
						r.Header.Set("Content-Encoding", "gzip")
					}
					res := w.do(o, alpn, r)
					all, _ := io.ReadAll(res.Body)
					want := strings.ReplaceAll(c.want, "CANARY", canary)
					if res.StatusCode != c.status || !strings.Contains(string(all), want) || res.Header.Get("Outwarden-Reason") != c.reason {
						t.Errorf("%d %s: %q, want %q", res.StatusCode, res.Header.Get("Outwarden-Reason"), all, want)
					}
					if c.wholeLength && strings.HasSuffix(string(all), "|-1") {
						t.Error("the origin was told no length, though the content was all here")
					}
					record := w.request()
					if record.Reason != c.reason || (c.reason == "") != (len(record.Credentials) == 1) {
						t.Errorf("record %+v", record)
					}
				})
			}
		}
	}
}

func gzipText(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// TestWebSocketHandshake: the upgrade carries the credential, whatever the form,
// and what follows in the tunnel carries nothing.
func TestWebSocketHandshake(t *testing.T) {
	for name, c := range map[string]inject.Credential{
		"bearer": put(inject.Bearer, ""), "cookie": put(inject.Cookie, "sid"), "query": put(inject.Query, "k"),
		"placeholder": {Name: "token", Version: "1", Form: inject.Placeholder, Placeholder: lure, In: inject.InHeader, Value: secret.New([]byte(canary))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o, heads := w.headOrigin(switched)
			w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = credentials(t, c) }))
			conn := w.tls(as{original: o.addr}, host)
			_, _ = io.WriteString(conn, strings.Replace(upgrade, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: "+lure+"\r\n\r\n", 1))
			got := make([]byte, len(switched))
			_, err := io.ReadFull(conn, got)
			must(t, err)
			if head := <-heads; strings.Count(head, canary) != 1 {
				t.Errorf("the handshake was %q", head)
			}
			_, _ = io.WriteString(conn, "frame "+lure)
			echo := make([]byte, len("frame "+lure))
			_, err = io.ReadFull(conn, echo)
			must(t, err)
			if string(echo) != "frame "+lure {
				t.Errorf("through the tunnel came %q", echo)
			}
			_ = conn.Close()
			w.quiet()
			if n := len(w.records.of(audit.KindCredential)); n != 1 {
				t.Errorf("%d intents", n)
			}
		})
	}
}

const lure = "owph_0123456789abcdefABCDEF0123456789"

// TestMisusedPlaceholders: a placeholder on a request for another host, by another
// process or under a route that does not have it raises an alert and is refused,
// unless the route only reports; where it belongs it becomes the credential.
func TestMisusedPlaceholders(t *testing.T) {
	const other = "other.example.com"
	swap := inject.Credential{Name: "token", Version: "1", Form: inject.Placeholder, Placeholder: lure, In: inject.InHeader, Value: secret.New([]byte(canary))}
	for name, c := range map[string]struct {
		pid    uint32
		host   string
		mode   policy.Mode
		def    policy.Action
		status int
		alerts int
		leaves int // canaries
	}{
		"where it belongs":            {pid: appPID, host: host, status: 200, leaves: 1},
		"another host":                {pid: appPID, host: other, status: 403, alerts: 1},
		"another process":             {pid: otherPID, host: host, status: 403, alerts: 1},
		"another process, denied":     {pid: otherPID, host: host, def: policy.Deny, status: 403, alerts: 1},
		"another host, only reported": {pid: appPID, host: other, mode: policy.Report, status: 200, alerts: 1},
		"another host, only observed": {pid: appPID, host: other, mode: policy.Observe, status: 200, alerts: 1},
	} {
		for _, alpn := range versions {
			t.Run(name+" "+alpn, func(t *testing.T) {
				w := newWorld(t)
				o := w.seen(t)
				w.names[other] = w.names[host]
				plan := credentials(t, swap)
				elsewhere := rule{
					route: policy.Route{Name: "elsewhere", Action: policy.Intercept, Mode: c.mode, To: policy.To{Hosts: hosts(t, other), Paths: paths(t, "/**")}},
				}
				elsewhere.plan.Upstream = w.profile("elsewhere")
				denied := rule{route: policy.Route{Name: "sealed", Action: policy.Intercept, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/never")}}}
				denied.plan.Upstream = w.profile("sealed")
				def := policy.Intercept
				if c.def != 0 {
					def = c.def
				}
				s := w.snapshot(def, w.partnerRoute(func(r *rule) { r.plan.Inject = plan }), elsewhere, denied)
				s.Placeholders = inject.NewPlaceholders(plan)
				w.proxy.SetSnapshot(s)
				r := mustRequest(t, "GET", "https://"+c.host+"/x", nil)
				r.Header.Set("X-Key", "Key "+lure)
				res := w.over(w.tls(as{pid: c.pid, original: o.addr}, c.host, alpn), r)
				answer, _ := io.ReadAll(res.Body) // it tells what the origin got
				if res.StatusCode != c.status {
					t.Errorf("status %d, want %d", res.StatusCode, c.status)
				}
				record := w.request()
				alerts := w.records.of(audit.KindAlert)
				if len(alerts) != c.alerts || bytes.Count(answer, []byte(canary)) != c.leaves {
					t.Errorf("%d alerts, want %d; the canary left %d times, want %d", len(alerts), c.alerts, bytes.Count(answer, []byte(canary)), c.leaves)
				}
				for _, a := range alerts {
					if a.Reason != "placeholder_misused" || a.Process == nil || a.Process.PID != c.pid || a.Host != c.host ||
						len(a.Credentials) != 1 || a.Credentials[0].Name != "token" {
						t.Errorf("alert %+v", a)
					}
				}
				if refused := c.status == 403; refused != (record.Reason == "placeholder_misused") || len(record.Credentials) != c.leaves {
					t.Errorf("record %+v", record)
				}
			})
		}
	}
}

// TestHopFieldsStayBehind: a field that ends with the workload's connection does not
// come back because a placeholder stands in it.
func TestHopFieldsStayBehind(t *testing.T) {
	w := newWorld(t)
	o, heads := w.headOrigin("HTTP/1.1 204 No Content\r\n\r\n")
	swap := inject.Credential{Name: "token", Version: "1", Form: inject.Placeholder, Placeholder: lure, In: inject.InHeader, Value: secret.New([]byte(canary))}
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = credentials(t, swap) }))
	w.say(o, "GET /x HTTP/1.1\r\nHost: "+host+"\r\nConnection: X-A, close\r\nX-A: "+lure+"\r\nKeep-Alive: "+lure+"\r\nX-B: "+lure+"\r\n\r\n")
	if head := <-heads; strings.Count(head, canary) != 1 || !strings.Contains(head, "X-B: "+canary) || strings.Contains(head, "X-A") || strings.Contains(head, "Keep-Alive:") {
		t.Errorf("the origin got %q", head)
	}
}

// TestNoHopKeepsACredential: every field that carries one is marked so that nobody
// behind us puts it in a table (RFC 7541 section 7.1.3), :path too.
func TestNoHopKeepsACredential(t *testing.T) {
	for name, c := range map[string]inject.Credential{
		"bearer": put(inject.Bearer, ""), "cookie": put(inject.Cookie, "sid"), "query": put(inject.Query, "k"),
		"path": {Name: "token", Version: "1", Form: inject.Path, Segment: 1, Value: secret.New([]byte(canary))},
		"placeholder": {
			Name: "token", Version: "1", Form: inject.Placeholder, Placeholder: lure, In: inject.InHeader | inject.InPath | inject.InQuery,
			Value: secret.New([]byte(canary)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			heads := make(chan []hpack.HeaderField, 1)
			o := w.originFor(func(conn net.Conn) {
				fr := accepted(conn)
				fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					if h, ok := f.(*http2.MetaHeadersFrame); ok {
						heads <- slices.Clone(h.Fields)
						_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: encoded(":status", "204"), EndHeaders: true, EndStream: true})
					}
				}
			}, host)
			o.config.NextProtos = []string{"h2"}
			w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = credentials(t, c) }))
			p := newPeer(t, w.tls(as{original: o.addr}, host, "h2"))
			_ = p.head(1, true, ":method", "GET", ":scheme", "https", ":authority", host, ":path", "/a/"+lure+"?b="+lure, "x-key", lure, "x-other", "1")
			p.sees("HEAD 1 204")
			found := 0
			for _, f := range <-heads {
				if !strings.Contains(f.Value, canary) {
					continue
				}
				if found++; !f.Sensitive {
					t.Errorf("%v", f)
				}
			}
			if found == 0 {
				t.Error("no field carries it")
			}
		})
	}
}
