package verify

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/replay"
)

const (
	window = 5 * time.Minute
	skew   = time.Minute
	body   = `{"amount":100,"to":"acme"}`
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func verifier(t testing.TB, s *sender, seen *replay.Cache, now time.Time) *Verifier {
	t.Helper()
	v, err := New(s.scheme, Options{Window: window, Skew: skew, Seen: seen, Timeless: s.timeless, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, path string, capacity int, now time.Time) *replay.Cache {
	t.Helper()
	c, err := replay.Open(replay.Options{Path: path, Window: window, Skew: skew, Capacity: capacity, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRefused: what must be true of every scheme.
func TestRefused(t *testing.T) {
	for _, s := range senders(t) {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			t.Run("window", func(t *testing.T) { testWindow(t, &s) })
			t.Run("replay", func(t *testing.T) { testReplay(t, &s) })
			t.Run("full", func(t *testing.T) { testFull(t, &s) })
			t.Run("changed", func(t *testing.T) { testChanged(t, &s) })
		})
	}
}

func testWindow(t *testing.T, s *sender) {
	r := s.sign(t, start)
	for _, tt := range []struct {
		now  time.Time
		want error
	}{
		{start, nil}, {start.Add(window), nil}, {start.Add(-skew), nil},
		{start.Add(window + time.Second), replay.ErrStale}, {start.Add(-skew - time.Second), replay.ErrEarly},
	} {
		if s.timeless {
			tt.want = nil
		}
		p, err := verifier(t, s, nil, tt.now).Verify(&r)
		if !errors.Is(err, tt.want) {
			t.Errorf("at %s: %v, want %v", tt.now.Sub(start), err, tt.want)
		}
		if err == nil && !s.timeless && !p.Time.Equal(start) {
			t.Errorf("signed at %s, proven is %s", start, p.Time)
		}
	}
	if !s.timeless {
		return
	}
	strict, err := New(s.scheme, Options{Window: window, Skew: skew})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Verify(&r); !errors.Is(err, ErrUntimed) {
		t.Errorf("without a time: %v", err)
	}
}

// testReplay: the second time is refused, also by the next process.
func testReplay(t *testing.T, s *sender) {
	path := filepath.Join(t.TempDir(), "seen")
	seen := open(t, path, 16, start.Add(-time.Hour))
	r, other := s.sign(t, start), s.sign(t, start.Add(time.Second))
	if s.timeless {
		other.Body = []byte("other")
		other = resign(t, s, other)
	}
	v := verifier(t, s, seen, start)
	if _, err := v.Verify(&r); err != nil {
		t.Fatalf("the first time: %v", err)
	}
	if _, err := v.Verify(&r); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("the second time: %v", err)
	}
	if _, err := v.Verify(&other); err != nil {
		t.Errorf("another request: %v", err)
	}
	if err := seen.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&r); err == nil {
		t.Error("accepted although nothing can be remembered any more")
	}
	again := open(t, path, 16, start.Add(time.Second))
	defer again.Close()
	if _, err := verifier(t, s, again, start.Add(time.Second)).Verify(&r); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("after a restart: %v", err)
	}
}

// resign signs a body that is not the usual one, for github, whose signature says
// nothing else.
func resign(t *testing.T, s *sender, r Request) Request {
	t.Helper()
	h := s.scheme.(*HMAC)
	fields, err := h.Scheme.Sign(h.Keys[1].Value.Reveal(), &hmacsig.Message{Method: r.Method, Target: r.Target, Body: strings.NewReader(string(r.Body))})
	if err != nil {
		t.Fatal(err)
	}
	r.Fields = nil
	for _, f := range fields {
		r.Fields = append(r.Fields, Field(f))
	}
	return r
}

func testFull(t *testing.T, s *sender) {
	room := 1
	if s.name == "knoxcall" || s.name == "standard-webhooks" || strings.HasPrefix(s.name, "httpsig") {
		room *= 2 // signature and nonce
	}
	if s.name == "stripe" || s.name == "standard-webhooks" {
		room *= 2 // of each key
	}
	seen := open(t, "", room, start.Add(-time.Hour))
	v := verifier(t, s, seen, start)
	r, other := s.sign(t, start), s.sign(t, start.Add(time.Second))
	if s.timeless {
		other.Body = []byte("other")
		other = resign(t, s, other)
	}
	if _, err := v.Verify(&r); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&other); !errors.Is(err, replay.ErrFull) {
		t.Errorf("with the cache full: %v", err)
	}
}

// testChanged: a byte, anywhere that the signature covers or stands in.
func testChanged(t *testing.T, s *sender) {
	r := s.sign(t, start)
	v := verifier(t, s, nil, start)
	if _, err := v.Verify(&r); err != nil {
		t.Fatal(err)
	}
	tried := 0
	refused := func(what string, bad Request) {
		t.Helper()
		tried++
		if _, err := v.Verify(&bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	each := func(what, text string, set func(*Request, string)) {
		for i := range len(text) {
			b := []byte(text)
			b[i] ^= 1
			bad := r
			bad.Fields = append([]Field(nil), r.Fields...)
			set(&bad, string(b))
			refused(what+" "+string(b), bad)
		}
	}
	each("body", string(r.Body), func(r *Request, s string) { r.Body = []byte(s) })
	for i, f := range r.Fields {
		each(f.Name, f.Value, func(r *Request, s string) { r.Fields[i].Value = s })
	}
	if s.line {
		each("method", r.Method, func(r *Request, s string) { r.Method = s })
		each("target", r.Target, func(r *Request, s string) { r.Target = s })
	}
	if s.host {
		each("host", r.Host, func(r *Request, s string) { r.Host = s })
	}
	for name, bad := range map[string][]byte{"longer": append([]byte("x"), r.Body...), "cut": r.Body[1:], "none": nil} {
		other := r
		other.Body = bad
		refused("body "+name, other)
	}
	if tried < 100 {
		t.Errorf("%d changes were tried", tried)
	}
}
