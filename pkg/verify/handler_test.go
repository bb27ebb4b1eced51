package verify

import (
	"crypto/elliptic"
	"encoding/base64"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/replay"
)

// mirrored is the other of an ECDSA signature's two forms, in its field.
func mirrored(t *testing.T, field string) string {
	t.Helper()
	label, text, _ := strings.Cut(field, "=:")
	b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(b[32:])
	new(big.Int).Sub(elliptic.P256().Params().N, s).FillBytes(b[32:])
	return label + "=:" + base64.StdEncoding.EncodeToString(b) + ":"
}

// send sends r to a server as it is.
func send(t *testing.T, server *httptest.Server, r *Request) (int, string) {
	t.Helper()
	request, err := http.NewRequest(r.Method, server.URL+r.Target, strings.NewReader(string(r.Body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = r.Host
	request.Header.Set("User-Agent", "test")
	for _, f := range r.Fields {
		request.Header.Add(f.Name, f.Value)
	}
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// echo shows that it got the body, and who is proven to have sent it.
func echo(w http.ResponseWriter, r *http.Request) {
	p, ok := FromContext(r.Context())
	if !ok {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	b, _ := io.ReadAll(r.Body)
	_, _ = io.WriteString(w, p.Scheme+" "+string(b))
}

// TestHandler: over the wire, for every scheme, in HTTP/1.1 and HTTP/2.
func TestHandler(t *testing.T) {
	for _, s := range senders(t) {
		for _, proto := range []string{"1", "2"} {
			t.Run(strings.ReplaceAll(s.name, " ", "_")+"_h"+proto, func(t *testing.T) {
				seen := open(t, filepath.Join(t.TempDir(), "seen"), 16, start.Add(-2*window))
				defer seen.Close()
				server := httptest.NewUnstartedServer(verifier(t, &s, seen, start).Handler(http.HandlerFunc(echo)))
				server.EnableHTTP2 = proto == "2"
				server.StartTLS()
				defer server.Close()
				r := s.sign(t, start)
				if status, text := send(t, server, &r); status != http.StatusOK || !strings.HasSuffix(text, " "+string(r.Body)) {
					t.Fatalf("as signed: %d %s", status, text)
				}
				if status, text := send(t, server, &r); status != http.StatusUnauthorized || !strings.Contains(text, replay.ErrReplayed.Error()) {
					t.Errorf("replayed: %d %s", status, text)
				}
				bad := s.sign(t, start)
				bad.Body = append(bad.Body, 'x')
				if status, text := send(t, server, &bad); status != http.StatusUnauthorized {
					t.Errorf("body changed: %d %s", status, text)
				}
			})
		}
	}
}

func TestHandlerFailsClosed(t *testing.T) {
	s := hmacSender(t, "knoxcall", true)
	seen := open(t, filepath.Join(t.TempDir(), "seen"), 2, start.Add(-2*window))
	v := verifier(t, &s, seen, start)
	v.o.MaxBody = int64(len(body))
	reached := 0
	server := httptest.NewTLSServer(v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })))
	defer server.Close()
	want := func(what string, r Request, want int) {
		t.Helper()
		if status, text := send(t, server, &r); status != want {
			t.Errorf("%s: %d %s, want %d", what, status, text, want)
		}
	}
	large := s.sign(t, start)
	large.Body = append(large.Body, 'x')
	want("a body over the limit", large, http.StatusRequestEntityTooLarge)
	unsigned := plain()
	want("no signature", unsigned, http.StatusUnauthorized)
	want("the first", s.sign(t, start), http.StatusOK)
	want("no room in the cache", s.sign(t, start), http.StatusServiceUnavailable)
	if err := seen.Close(); err != nil {
		t.Fatal(err)
	}
	want("no journal", s.sign(t, start), http.StatusServiceUnavailable)
	if reached != 1 {
		t.Errorf("%d requests got through, want 1", reached)
	}
}

// TestTrailersAreNotProven: no signature covers them, so they do not get through.
func TestTrailersAreNotProven(t *testing.T) {
	r := httptest.NewRequest("POST", "/x", nil)
	r.Trailer = http.Header{"X-Role": nil}
	r.Body = io.NopCloser(trailed{r, strings.NewReader("body")})
	request, err := FromHTTP(httptest.NewRecorder(), r, 10)
	if err != nil || string(request.Body) != "body" {
		t.Fatalf("%+v, %v", request, err)
	}
	if len(r.Trailer) > 0 {
		t.Errorf("unsigned %v passes", r.Trailer)
	}
}

// trailed is a body with a trailer behind it, as net/http's server gives one.
type trailed struct {
	r *http.Request
	io.Reader
}

func (b trailed) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.r.Trailer = http.Header{"X-Role": {"admin"}}
	}
	return n, err
}
