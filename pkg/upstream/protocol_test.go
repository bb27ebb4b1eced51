package upstream

import (
	"testing"
	"time"
)

func TestProtocolIsRemembered(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	offer := func(alpn ...string) Target {
		return target(o, root.pool(), func(t *Target) { t.ALPN = alpn })
	}
	both, old := []string{"h2", "http/1.1"}, []string{"http/1.1"}
	if _, ok := p.Protocol(offer().Key, both); ok {
		t.Error("remembered before anything was dialled")
	}
	_ = mustGet(t, p, offer(both...)).Close()
	_ = mustGet(t, p, offer(old...)).Close()
	for _, tt := range []struct {
		offered []string
		want    string
		ok      bool
	}{{both, "h2", true}, {old, "http/1.1", true}, {[]string{"h2"}, "", false}, {nil, "", false}} {
		if got, ok := p.Protocol(offer().Key, tt.offered); got != tt.want || ok != tt.ok {
			t.Errorf("%v: %q, %v", tt.offered, got, ok)
		}
	}
	other := offer().Key
	other.Route = "other"
	if _, ok := p.Protocol(other, both); ok {
		t.Error("remembered for another key")
	}
	p.o.Timeouts.ALPN = time.Nanosecond
	if _, ok := p.Protocol(offer().Key, both); ok {
		t.Error("remembered for ever")
	}
}

// TestUnchosenProtocolIsHTTP1: a connection on which nothing was chosen speaks
// HTTP/1.1, and is no answer to an offer of h2 alone.
func TestUnchosenProtocolIsHTTP1(t *testing.T) {
	for _, c := range []struct {
		alpn  []string
		proto string
		want  bool
	}{
		{nil, "", true}, {nil, "http/1.1", true}, {nil, "h2", false},
		{[]string{"http/1.1"}, "", true}, {[]string{"h2", "http/1.1"}, "", true}, {[]string{"h2"}, "", false},
		{[]string{"h2"}, "http/1.1", false}, {[]string{"h2"}, "h2", true}, {[]string{"http/1.1"}, "h2", false},
	} {
		if got := offers(c.alpn, c.proto); got != c.want {
			t.Errorf("offer %q, connection %q: %v, want %v", c.alpn, c.proto, got, c.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := new(bucket)
	for i := range maxChoices + 5 {
		b.remember([]string{string(rune('a' + i))}, "x", 0)
	}
	if len(b.memory) != maxChoices {
		t.Errorf("%d choices", len(b.memory))
	}
	p := NewPool(Options{Limits: Limits{Keys: 10}})
	defer p.Close()
	for i := range 50 {
		if p.bucket(bucketKey{Key: Key{Port: uint16(i)}}) == nil {
			t.Fatal("no room although every bucket is empty")
		}
	}
	if len(p.buckets) != 10 {
		t.Errorf("%d buckets", len(p.buckets))
	}
	for _, b := range p.buckets {
		b.flight = new(flight)
	}
	if p.bucket(bucketKey{Key: Key{Port: 99}}) != nil {
		t.Error("a bucket in use was given up")
	}
}
