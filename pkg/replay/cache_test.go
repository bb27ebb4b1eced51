package replay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var begin = time.Unix(1_700_000_000, 0)

func options(path string) Options {
	return Options{Path: path, Window: 5 * time.Minute, Skew: time.Minute, Capacity: 1000, Now: begin}
}

func open(t testing.TB, o Options) *Cache {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // some tests close it themselves
	return c
}

func message(n int) Message {
	return Message{KeyID: "k", Signature: fmt.Append(nil, "signature ", n), Nonce: fmt.Sprint("nonce ", n)}
}

// later is a time at which a cache without a past accepts.
var later = begin.Add(2 * time.Minute)

func TestAccept(t *testing.T) {
	c := open(t, options(""))
	for i, tt := range []struct {
		m    Message
		at   time.Duration // from later
		want error
	}{
		{message(1), 0, nil},
		{message(1), 0, ErrReplayed},
		{Message{KeyID: "k", Signature: message(1).Signature}, 0, ErrReplayed},
		{Message{KeyID: "k", Signature: []byte("other"), Nonce: "nonce 1"}, 0, ErrReplayed},
		{Message{KeyID: "j", Signature: message(1).Signature, Nonce: "nonce 1"}, 0, nil},
		{message(2), time.Minute, nil},
		{message(3), time.Minute + 1, ErrEarly},
		{message(4), -time.Minute, ErrStale}, // begin + skew: could be from before the start
		{message(4), -time.Minute + 1, nil},
		{message(5), -time.Hour, ErrStale},
	} {
		if err := c.Accept(tt.m, later.Add(tt.at), later); !errors.Is(err, tt.want) {
			t.Errorf("case %d: %v, want %v", i, err, tt.want)
		}
	}
	if err := c.Accept(message(6), time.Time{}, later); !errors.Is(err, ErrStale) {
		t.Errorf("zero time: %v", err)
	}
	long := later.Add(time.Hour)
	if err := c.Accept(message(7), long.Add(-5*time.Minute-1), long); !errors.Is(err, ErrStale) {
		t.Errorf("before the window: %v", err)
	}
}

// TestNeverTwice: whatever the order of times, restarts and steps of the clock,
// no message is accepted twice. The oracle is a set that forgets nothing.
func TestNeverTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		o := options(filepath.Join(dir, "j"))
		o.Capacity = 40
		c, err := Open(o)
		if err != nil {
			rt.Fatal(err)
		}
		accepted := map[int]bool{}
		now := begin
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-200, 300).Draw(rt, "pass")) * time.Second)
			if rapid.IntRange(0, 7).Draw(rt, "restart") == 0 {
				if err := c.Close(); err != nil {
					rt.Fatal(err)
				}
				o.Now = now
				if c, err = Open(o); err != nil {
					rt.Fatal(err)
				}
			}
			n := rapid.IntRange(0, 9).Draw(rt, "message")
			at := begin.Add(time.Duration(n) * 200 * time.Second) // a message's time is signed: it never changes
			if c.Accept(message(n), at, now) != nil {
				continue
			}
			if accepted[n] {
				rt.Fatalf("message %d accepted twice", n)
			}
			accepted[n] = true
		}
		if err := c.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestAccepts: the cache is no wall: new messages pass, over many generations.
func TestAccepts(t *testing.T) {
	c := open(t, options(filepath.Join(t.TempDir(), "j")))
	now := later
	for i := range 3000 {
		if err := c.Accept(message(i), now, now); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		now = now.Add(time.Second)
	}
	if n := c.Len(); n > 2*2*370 {
		t.Errorf("%d held after 3000 seconds", n)
	}
}

func TestFullFailsClosed(t *testing.T) {
	o := options("")
	o.Capacity = 10
	c := open(t, o)
	for i := range 5 {
		if err := c.Accept(message(i), later, later); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Accept(message(5), later, later); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if err := c.Accept(message(0), later, later); !errors.Is(err, ErrReplayed) {
		t.Errorf("full, and seen: %v", err)
	}
	aged := begin.Add(6*time.Minute + 1)
	if err := c.Accept(message(5), aged, aged); err != nil {
		t.Errorf("aged: %v", err)
	}
	if err := c.Accept(message(0), later, aged); !errors.Is(err, ErrReplayed) {
		t.Errorf("aged, and seen: %v", err)
	}
}

// TestFair: one key leaves as much room as it took, for others and for what they do.
func TestFair(t *testing.T) {
	o := options("")
	o.Capacity, o.Fair = 100, true
	c := open(t, o)
	took := func(key string) (n int) {
		for c.Accept(Message{KeyID: key, Signature: []byte{byte(n)}}, later, later) == nil {
			n++
		}
		return n
	}
	if a, b, third := took("a"), took("b"), took("c"); a != 50 || b != 25 || third != 12 {
		t.Errorf("one took %d, another %d, a third %d", a, b, third)
	}
	if err := c.Accept(Message{KeyID: "a", Signature: []byte("more")}, later, later); !errors.Is(err, ErrFull) {
		t.Errorf("more of the first: %v", err)
	}
	next := later.Add(2 * (o.Window + o.Skew))
	if err := c.Accept(Message{KeyID: "a", Signature: []byte("more")}, next, next); err != nil {
		t.Errorf("a generation later: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	c := open(t, options(filepath.Join(t.TempDir(), "j")))
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				if c.Accept(message(i), later, later) == nil {
					mu.Lock()
					accepted++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if accepted != 100 {
		t.Errorf("%d accepted of 100, each sent 8 times", accepted)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Window: 1}, {Capacity: 1}, {Window: 1, Capacity: 1, Skew: -1}} {
		if _, err := Open(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	for name, path := range map[string]string{"memory": "", "journal": filepath.Join(b.TempDir(), "j")} {
		b.Run(name, func(b *testing.B) {
			o := options(path)
			o.Capacity = 1 << 30
			c := open(b, o)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := c.Accept(message(i), later, later); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
