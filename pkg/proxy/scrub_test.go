package proxy_test

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/scrub"
	"github.com/outwarden/outwarden/pkg/secret"
)

// scrubbedRoute is the partner's, and its responses are scrubbed.
func (w *world) scrubbedRoute() rule {
	return w.partnerRoute(func(r *rule) { r.plan.Scrub = scrubOf() })
}

func scrubOf() proxy.Scrub {
	f, _ := scrub.New([]scrub.Secret{{Name: "token", Value: secret.New([]byte(canary))}})
	return proxy.Scrub{Filter: f}
}

// TestNoCredentialOnTRACE is F2: methods that answer with the request carry none.
func TestNoCredentialOnTRACE(t *testing.T) {
	for _, alpn := range versions {
		for _, method := range []string{"TRACE", "OPTIONS", "CONNECT"} {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			asked := make(chan string, 1)
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- r.Header.Get("Authorization")
			}))
			w.use(policy.Intercept, w.scrubbedRoute())
			r := mustRequest(t, method, "https://"+host+"/anything", nil)
			if method == "CONNECT" {
				r.URL.Host, r.URL.Path = host+":"+portOf(o), ""
				r.Host = r.URL.Host
			}
			res := w.do(o, alpn, r)
			if res.StatusCode < 400 {
				t.Errorf("%s %s: %s", alpn, method, res.Status)
			}
			select {
			case got := <-asked:
				t.Errorf("%s %s reached the origin with %q", alpn, method, got)
			default:
			}
			if r := w.request(); r.Reason != "method_forbids" {
				t.Errorf("%s %s: record %+v", alpn, method, r)
			}
		}
	}
}

// TestUnreadableContent: what can't be looked into is refused with a reason, and
// passed on where the route says only alert.
func TestUnreadableContent(t *testing.T) {
	for _, alpn := range versions {
		for name, head := range map[string]http.Header{
			"unknown":           {"Content-Encoding": {"compress"}},
			"two":               {"Content-Encoding": {"gzip, br"}},
			"two lines":         {"Content-Encoding": {"gzip", "br"}},
			"part of a gzip":    {"Content-Encoding": {"gzip"}, "Content-Range": {"bytes 0-3/100"}},
			"compressed gRPC":   {"Content-Type": {"application/grpc+proto"}, "Grpc-Encoding": {"gzip"}},
			"gRPC in something": {"Content-Type": {"application/grpc"}, "Content-Encoding": {"gzip"}},
		} {
			t.Run(alpn+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					for name, values := range head {
						rw.Header()[name] = values
					}
					if head.Get("Content-Range") != "" {
						rw.WriteHeader(206)
					}
					_, _ = io.WriteString(rw, "some content")
				}))
				call := func() *http.Request {
					r := mustRequest(t, "POST", "https://"+host+"/x", nil)
					r.Header.Set("Content-Type", head.Get("Content-Type"))
					return r
				}
				w.use(policy.Intercept, w.scrubbedRoute())
				res := w.do(o, alpn, call())
				if body, _ := io.ReadAll(res.Body); res.StatusCode != 502 || res.Header.Get("Outwarden-Reason") != "content_coding" || bytes.Contains(body, []byte("some content")) {
					t.Errorf("%s %q", res.Status, body)
				}
				if r := w.request(); r.Reason != "content_coding" || r.Status != 502 {
					t.Errorf("record %+v", r)
				}
				w.use(policy.Intercept, w.alertRoute())
				res = w.do(o, alpn, call())
				if body, _ := io.ReadAll(res.Body); res.StatusCode >= 300 || string(body) != "some content" {
					t.Errorf("alert: %s %q", res.Status, body)
				}
			})
		}
	}
}

func (w *world) alertRoute() rule {
	r := w.scrubbedRoute()
	r.plan.Scrub.Alert = true
	return r
}

// TestAlertChangesNothing: what is found is recorded, and stays.
func TestAlertChangesNothing(t *testing.T) {
	for _, alpn := range versions {
		w := newWorld(t)
		w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), reflector())
		w.use(policy.Intercept, w.alertRoute())
		rt := w.roundTripper(w.tls(as{original: o.addr}, host, alpn))
		for _, path := range []string{"/anything", "/location", "/gzip", "/trailers", "/sized"} {
			w.records.forget()
			res, err := rt.RoundTrip(mustRequest(t, "GET", "https://"+host+path, nil))
			must(t, err)
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			text := fields(res.Header) + decoded(t, res.Header.Get("Content-Encoding"), body) + fields(res.Trailer)
			if !strings.Contains(text, canary) || strings.Contains(text, "redacted") {
				t.Errorf("%s: %s", path, text)
			}
			if r := w.request(); len(r.Scrubbed) != 1 || r.Reason != "secret_reflected" {
				t.Errorf("%s: record %+v", path, r)
			}
		}
	}
}
