package process

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

func TestCacheIsKeyedByAllTheKernelSays(t *testing.T) {
	p := newFakeProc(t)
	hello, id := program(t, "hello", "hello")
	p.process(7, 1, 100, "S", hello, "first")
	r := NewResolver(Options{Proc: p.root})
	first, err := r.Resolve(caller(id))
	must(t, err)
	p.process(7, 1, 100, "S", hello, "second")
	if again, _ := r.Resolve(caller(id)); again != first {
		t.Error("not cached")
	}
	for name, change := range map[string]func(*flow.Flow){
		"uid":    func(f *flow.Flow) { f.Caller.UID = 12345 },
		"cgroup": func(f *flow.Flow) { f.Cgroup = 1 << 60 },
	} {
		f := caller(id)
		change(f)
		if got, _ := r.Resolve(f); got == first || got.UID != f.Caller.UID {
			t.Errorf("another %s: the same identity", name)
		}
	}
	for name, event := range map[string]func(uint32, time.Duration){"exec": r.Executed, "exit": r.Exited} {
		before, _ := r.Resolve(caller(id))
		event(7, caller(id).Caller.Start+tick) // of another process
		if got, _ := r.Resolve(caller(id)); got != before {
			t.Errorf("%s of another process dropped it", name)
		}
		event(7, caller(id).Caller.Start)
		if got, _ := r.Resolve(caller(id)); got == before {
			t.Errorf("%s did not drop it", name)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	const limit = 64
	c := newCache(limit)
	for pid := range uint32(10 * limit) {
		for n := range time.Duration(3 * perPID) {
			c.put(pid, key{start: n}, &Identity{})
			c.remember(pid, memory{start: n})
		}
	}
	if got := c.len(); got > limit || got == 0 {
		t.Errorf("%d pids kept, the bound is %d", got, limit)
	}
	for i := range c {
		for pid, entries := range c[i].entries {
			if len(entries) > perPID || len(c[i].images[pid]) > perPID {
				t.Errorf("pid %d: %d identities, %d images", pid, len(entries), len(c[i].images[pid]))
			}
		}
	}
}

func TestDigestBounds(t *testing.T) {
	exe, _ := program(t, "hello", "hello")
	var st unix.Stat_t
	must(t, unix.Stat(exe, &st))
	id := fileIDOf(&st)
	open := func() (*os.File, error) { return os.Open(exe) }
	if _, err := newDigests(8, 4).of(id, open, false); !errors.Is(err, errNoDigest) {
		t.Errorf("larger than the bound: %v", err)
	}
	c := newDigests(2, 100)
	if sum, err := c.of(id, open, false); err != nil || sum != helloSHA256 {
		t.Errorf("got %q, %v", sum, err)
	}
	if sum, err := c.of(id, nil, false); err != nil || sum != helloSHA256 {
		t.Errorf("not remembered: %q, %v", sum, err)
	}
	wrong := id
	wrong.mtime.Nsec++
	if _, err := c.of(wrong, open, false); !errors.Is(err, errNoDigest) {
		t.Errorf("another version of the file: %v", err)
	}
	for n := range int64(9) {
		c.store(fileID{size: n}, "x")
	}
	if len(c.known) != 2 {
		t.Errorf("%d digests kept, the bound is 2", len(c.known))
	}
}

func TestJSON(t *testing.T) {
	id := &Identity{
		PID: 7, Start: time.Unix(1_700_000_000, 20_000_000).UTC(), Exe: "/bin/a", ExeSHA256: "ab", Argv: []string{"a", "<b>"},
		UID: 0, User: "root", Cgroup: "/x.service", Unit: "x.service", Container: "c", Pod: "p", Parents: []Parent{{1, "/init"}, {2, ""}},
	}
	const want = `{"pid":7,"start":"2023-11-14T22:13:20.02Z","exe":"/bin/a","exe_sha256":"ab","argv":["a","\u003cb\u003e"],"uid":0,` +
		`"user":"root","cgroup":"/x.service","unit":"x.service","container":"c","pod":"p","parents":[{"pid":1,"exe":"/init"},{"pid":2}]}`
	if got := string(id.JSON()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if first, second := id.JSON(), id.JSON(); &first[0] != &second[0] {
		t.Error("encoded twice")
	}
	const bare = `{"pid":7,"start":"0001-01-01T00:00:00Z","uid":5}`
	if got := string((&Identity{PID: 7, UID: 5, Gone: true}).JSON()); got != bare {
		t.Errorf("unknown values: got %s, want %s", got, bare)
	}
}

func TestCachedResolveDoesNotAllocate(t *testing.T) {
	p := newFakeProc(t)
	exe, id := program(t, "hello", "hello")
	p.process(7, 1, 100, "S", exe)
	r, f := NewResolver(Options{Proc: p.root}), caller(id)
	if n := testing.AllocsPerRun(100, func() { r.Resolve(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolveCached(b *testing.B) {
	r := NewResolver(Options{})
	f, err := r.Caller(uint32(os.Getpid()))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(f)
	}
}

func BenchmarkResolveFresh(b *testing.B) {
	r := NewResolver(Options{})
	f, err := r.Caller(uint32(os.Getpid()))
	must(b, err)
	for b.Loop() {
		r.Exited(f.Caller.PID, f.Caller.Start)
		r.Resolve(f)
	}
}
