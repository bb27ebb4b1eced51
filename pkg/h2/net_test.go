package h2_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
)

// TestRelayEqualsDirect: through the relay everything is as without it.
func TestRelayEqualsDirect(t *testing.T) {
	addr := origin(t, http.HandlerFunc(echo))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{})
	direct, relayed := client(t, addr), client(t, through)
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	for _, c := range []struct {
		method, target string
		body           func() io.Reader
	}{
		{"GET", "/plain?a=%7e&b=+", nil},
		{"HEAD", "/head?fixed=1000", nil},
		{"GET", "/fixed?fixed=300000", nil},
		{"POST", "/post", func() io.Reader { return strings.NewReader("hello") }},
		{"POST", "/unknown", func() io.Reader { return io.MultiReader(strings.NewReader("no length")) }},
		{"PUT", "/big", func() io.Reader { return bytes.NewReader(big) }},
		{"OPTIONS", "/x", nil},
	} {
		body := func() io.Reader {
			if c.body == nil {
				return nil
			}
			return c.body()
		}
		want, got := fetch(t, direct, c.method, c.target, body()), fetch(t, relayed, c.method, c.target, body())
		if !got.equal(want) {
			t.Errorf("%s %s: got %+v, want %+v", c.method, c.target, got, want)
		}
	}
}

// TestTrailersAndHints: request trailers go up, response trailers and interim
// responses come down.
func TestTrailersAndHints(t *testing.T) {
	addr := origin(t, http.HandlerFunc(echo))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{})
	req, _ := http.NewRequest("POST", "http://api.example/t?hint", io.MultiReader(strings.NewReader("body")))
	req.Trailer = http.Header{"X-Client": {"sent behind"}}
	hints := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints && h.Get("Link") != "" {
				hints++
			}
			return nil
		}})
	res, err := client(t, through).RoundTrip(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "body" {
		t.Fatalf("body %q, %v", body, err)
	}
	if hints != 1 || res.Trailer.Get("X-Back") != "sent behind" || res.Trailer.Get("X-Sum") == "" {
		t.Errorf("%d hints, trailers %v", hints, res.Trailer)
	}
}

// TestManyStreams runs more streams than one origin connection takes.
func TestManyStreams(t *testing.T) {
	addr := origin(t, http.HandlerFunc(echo))
	through, r := startRelay(t, addr, nil, nil, h2.Options{})
	tr := client(t, through)
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			body := strings.Repeat("z", i*97)
			a := fetch(t, tr, "POST", "/"+strconv.Itoa(i), strings.NewReader(body))
			if a.size != len(body) || a.body != sha256.Sum256([]byte(body)) {
				t.Errorf("stream %d: %d bytes of %d", i, a.size, len(body))
			}
		})
	}
	wg.Wait()
	if n := len(r.ups); n > 5 {
		t.Errorf("%d connections to the origin", n)
	}
}

// TestBothWaysAtOnce: each message goes up and down before the next is sent.
func TestBothWaysAtOnce(t *testing.T) {
	addr := origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	}))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{})
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", "http://api.example/", pr)
	res, err := client(t, through).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 50 {
		want := fmt.Sprintf("message %d", i)
		_, _ = io.WriteString(pw, want)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	_ = pw.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes more, %v", len(rest), err)
	}
}

// TestSlowWorkload: an origin that sends without end is held back by a workload
// that does not read, and another stream on the same connections is not.
func TestSlowWorkload(t *testing.T) {
	var mu sync.Mutex
	sent := 0
	addr := origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/endless" {
			return
		}
		piece := make([]byte, 16<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
			mu.Lock()
			sent += len(piece)
			mu.Unlock()
		}
	}))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{})
	tr := client(t, through)
	req, _ := http.NewRequest("GET", "http://api.example/endless", nil)
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for { // until it stands still
		time.Sleep(100 * time.Millisecond)
		mu.Lock()
		now := sent
		mu.Unlock()
		if now == last {
			break
		}
		last = now
	}
	if limit := 8 << 20; last > limit { // x/net's client alone takes 4 MiB a stream
		t.Errorf("the origin could send %d bytes", last)
	}
	if a := fetch(t, tr, "GET", "/other", nil); a.status != 200 {
		t.Errorf("the other stream: %d", a.status)
	}
	_ = res.Body.Close()
}

// TestOriginDies: a response that is cut short is an error for the workload.
func TestOriginDies(t *testing.T) {
	addr := origin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{})
	req, _ := http.NewRequest("GET", "http://api.example/", nil)
	res, err := client(t, through).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q came as a whole response", body)
	}
}

// TestLargeHead: over the limit it is answered, and the connection lives on.
func TestLargeHead(t *testing.T) {
	addr := origin(t, http.HandlerFunc(echo))
	through, _ := startRelay(t, addr, nil, nil, h2.Options{HeaderBytes: 20 << 10})
	tr := client(t, through)
	for _, c := range []struct{ fields, status int }{{10, 200}, {30, 431}, {1, 200}} {
		req, _ := http.NewRequest("GET", "http://api.example/", nil)
		for i := range c.fields {
			req.Header.Set("X-"+strconv.Itoa(i), strings.Repeat("v", 1000))
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			// x/net's client knows our limit from SETTINGS and may refuse by itself.
			if c.status == 431 {
				continue
			}
			t.Fatalf("%d fields: %v", c.fields, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%d fields: status %d, want %d", c.fields, res.StatusCode, c.status)
		}
	}
}
