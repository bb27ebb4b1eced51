package proxy_test

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// reflector sends back what it was sent, in every way that APIs do.
func reflector() http.Handler {
	token := func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }
	anything := func(r *http.Request) string {
		text, _ := json.Marshal(map[string]any{"method": r.Method, "headers": r.Header, "url": r.URL.String(), "token": token(r)})
		return string(text)
	}
	mux := http.NewServeMux()
	handle := func(path string, h func(http.ResponseWriter, *http.Request)) { mux.HandleFunc(path, h) }
	handle("/anything", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, anything(r)) })
	handle("/error", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "<p>no such token: "+html.EscapeString(token(r))+"</p>", 500)
	})
	handle("/location", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/next?token="+url.QueryEscape(token(r))+"&all="+url.PathEscape(token(r)), http.StatusFound)
	})
	handle("/cookie", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", "session="+base64.URLEncoding.EncodeToString([]byte("user:"+token(r)))+"; Secure")
		w.WriteHeader(204)
	})
	handle("/fields", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header()["x-"+token(r)] = []string{hex.EncodeToString([]byte(token(r)))}
		_, _ = io.WriteString(w, "ok")
	})
	handle("/304", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"`+token(r)+`"`)
		w.WriteHeader(304)
	})
	handle("/split", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range []byte(anything(r)) {
			_, _ = w.Write([]byte{c})
			w.(http.Flusher).Flush()
		}
	})
	handle("/sized", func(w http.ResponseWriter, r *http.Request) {
		text := strings.Repeat("x", 90000) + token(r) + strings.Repeat("y", 90000)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(w, text)
	})
	handle("/range", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "f.txt", time.Unix(1_700_000_000, 0), strings.NewReader(strings.Repeat("x", 300)+token(r)+strings.Repeat("y", 300)))
	})
	handle("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</"+token(r)+".css>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "done")
	})
	handle("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", token(r))
	})
	handle("/small", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "body")
		_ = z.Close()
		w.Header().Set("X-Sum", token(r)) // behind a content that is clean and here
	})
	for path, kind := range map[string]string{"/pretended": "application/grpc", "/text": "application/grpc-web-text+proto"} {
		handle(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			message := append([]byte{0, 0, 0, 1, 0}, token(r)...) // of 256 bytes, so it says
			if path == "/text" {
				message = []byte(base64.StdEncoding.EncodeToString(message))
			}
			_, _ = w.Write(message)
		})
	}
	for encoding, coder := range coders {
		handle("/"+encoding, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			w.Header().Set("Etag", `"v1"`)
			w.Header().Set("Content-Digest", "sha-256=:AAAA:")
			z := coder(w)
			_, _ = io.WriteString(z, anything(r))
			_ = z.Close()
		})
		handle("/long-"+encoding, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			z := coder(w)
			for i := range 400 {
				fmt.Fprintf(z, "%d %s %x\n", i, strings.Repeat("words ", i), i*i)
				if i%100 == 99 {
					_, _ = io.WriteString(z, token(r))
					_ = z.Flush()
					w.(http.Flusher).Flush()
				}
			}
			_ = z.Close()
		})
	}
	return mux
}

// shows lists the ways in which a response shows the canary.
func shows(text string) (found []string) {
	for way, s := range map[string]string{
		"plain": canary, "hex": hex.EncodeToString([]byte(canary)), "base64": base64.RawStdEncoding.EncodeToString([]byte(canary))[:20],
		"base64, one before": base64.RawStdEncoding.EncodeToString([]byte("x" + canary))[2:20],
		"base64, two before": base64.RawStdEncoding.EncodeToString([]byte("xx" + canary))[3:20],
		"query":              url.QueryEscape(canary), "html": html.EscapeString(canary),
	} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
			found = append(found, way)
		}
	}
	return found
}

// TestReflection is F2: whatever an origin sends back of the credential, the
// workload does not see, over both versions; and the record says how often.
func TestReflection(t *testing.T) {
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), reflector())
			w.use(policy.Intercept, w.scrubbedRoute())
			paths := map[string]int{
				"/anything": 2, "/error": 1, "/location": 3, "/cookie": 1, "/fields": 3, "/304": 1, "/split": 2, "/sized": 1, "/range": 1, "/hints": 1,
				"/trailers": 1, "/small": 1, "/pretended": 1, "/text": 1,
			}
			for encoding := range coders {
				paths["/"+encoding], paths["/long-"+encoding] = 2, 4
			}
			rt := w.roundTripper(w.tls(as{original: o.addr}, host, alpn))
			for path, count := range paths {
				w.records.forget()
				text := everything(t, rt, mustRequest(t, "GET", "https://"+host+path, nil), path)
				if found := shows(text); len(found) > 0 {
					t.Errorf("%s shows the credential (%s): %s", path, found, text)
				}
				r := w.request()
				if len(r.Scrubbed) != 1 || r.Scrubbed[0].Name != "token" || r.Scrubbed[0].Count < count || r.Reason != "secret_reflected" || r.Decision != "intercept" {
					t.Errorf("%s: %d at least, record %+v", path, count, r)
				}
			}
		})
	}
}

// everything is all that a workload can see of a response: heads, content as it is
// and decoded, trailers.
func everything(t *testing.T, rt http.RoundTripper, r *http.Request, path string) string {
	t.Helper()
	interim := ""
	if path == "/range" {
		r.Header.Set("Range", "bytes=100-500")
	}
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	r = r.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { interim += fmt.Sprint(h); return nil },
	}))
	res, err := rt.RoundTrip(r)
	must(t, err)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s: %v behind %q", path, err, body)
	}
	must(t, res.Body.Close())
	encoding := res.Header.Get("Content-Encoding")
	plain := decoded(t, encoding, body)
	expect(t, path, res, plain, len(body))
	return interim + res.Status + fields(res.Header) + string(body) + plain + fields(res.Trailer)
}

// expect holds what the response must still be.
func expect(t *testing.T, path string, res *http.Response, plain string, sent int) {
	t.Helper()
	if res.ContentLength >= 0 && res.StatusCode == 200 && res.ContentLength != int64(sent) {
		t.Errorf("%s: content-length %d, %d came", path, res.ContentLength, sent)
	}
	wrong := false
	switch path {
	case "/anything", "/split":
		wrong = !json.Valid([]byte(plain)) || path == "/split" && !strings.Contains(plain, `"token":"[redacted:token]"`)
	case "/location":
		wrong = res.StatusCode != 302 || !strings.HasPrefix(res.Header.Get("Location"), "/next?token=[redacted:token]&all=[redacted:token]")
	case "/cookie":
		c := res.Header["Set-Cookie"]
		wrong = res.StatusCode != 204 || len(c) != 2 || c[0] != "a=1; Path=/" || !strings.HasSuffix(c[1], "[redacted:token]; Secure")
	case "/sized":
		wrong = plain != strings.Repeat("x", 90000)+"[redacted:token]*"+strings.Repeat("y", 90000)
	case "/range":
		wrong = res.StatusCode != 206 || res.Header.Get("Content-Range") != "bytes 100-500/617" || len(plain) != 401
	case "/gzip", "/deflate", "/br", "/zstd":
		wrong = !json.Valid([]byte(plain)) || !strings.Contains(plain, `"token":"[redacted:token]"`) ||
			res.Header.Get("Etag") != `W/"v1"` || res.Header.Get("Content-Digest") != ""
	case "/trailers", "/small":
		wrong = plain != "body" || res.Trailer.Get("X-Sum") != "[redacted:token]"
	default:
		if strings.HasPrefix(path, "/long-") {
			wrong = strings.Count(plain, "[redacted:token]") != 4 || strings.Count(plain, "\n") != 400
		}
	}
	if wrong {
		t.Errorf("%s: %s %s %s", path, res.Status, fields(res.Header), plain[:min(len(plain), 2000)])
	}
}
