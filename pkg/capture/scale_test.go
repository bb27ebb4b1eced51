package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// scaled is a count for the gate, or for `make abuse`, or a hundredth of the
// gate's under -short, for the race detector is slow. Emulated processors are
// slower by a number that they say.
func scaled(gate, full int) int {
	switch {
	case os.Getenv("OUTWARDEN_ABUSE") == "full":
		return full
	case testing.Short():
		return gate / 100
	}
	return gate / netnstest.Slower()
}

// TestSequence: 100,000 connections, one after the other in each of four
// processes, each to another destination than the one before. The interceptor
// compares what each says of itself with the kernel's record, and what it had
// before is what it has afterwards.
func TestSequence(t *testing.T) { eachBackend(t, testSequence) }

func testSequence(t *testing.T, b backend) {
	const processes = 4
	each := scaled(10_000, 100_000) / processes
	if b == rewrite {
		each = scaled(100_000, 1_000_000) / processes
	}
	w := newWorld(t, b)
	var right, wrong atomic.Int64
	w.replace(func(c net.Conn) {
		if err := w.hear(c); err != nil {
			if wrong.Add(1) < 5 {
				t.Error(err)
			}
			return
		}
		right.Add(1)
		io.WriteString(c, "right")
	})
	destinations := strings.Join([]string{server4, server6, mapped4, "203.0.113.10:80", "[2001:db8:f::10]:80"}, " ")
	before := descriptors(t)
	w.together(processes, step{Do: "sequence", Addr: destinations, Count: each})
	if n := processes * each; int(right.Load()) != n || wrong.Load() != 0 {
		t.Errorf("%d of %d connections told right, %d wrong", right.Load(), n, wrong.Load())
	}
	if n := w.records(); n != 0 {
		t.Errorf("%d records are left", n)
	}
	for _, counter := range []string{"records_lost", "records_contested", "denied"} {
		if n := w.counter(counter); n != 0 {
			t.Errorf("%s = %d", counter, n)
		}
	}
	eventually(t, "every descriptor closed", func() bool { return descriptors(t) <= before })
}

// hear reads who calls and where it meant to go, and compares with the record.
func (w *world) hear(c net.Conn) error {
	f, ok := w.capture.Lookup(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
	line, err := bufio.NewReader(c).ReadString('\n')
	if kernel := fmt.Sprintf("%s %s\n", who(f), f.Original); !ok || err != nil || plain(line) != kernel {
		return fmt.Errorf("kernel %q (%v), workload %q (%v)", kernel, ok, line, err)
	}
	return nil
}

// plain is a line with a mapped address as records have it.
func plain(line string) string { return strings.Replace(line, mapped4, server4, 1) }

// together has n workloads in scope do a step at the same time.
func (w *world) together(n int, s ...step) {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	var work sync.WaitGroup
	for range n {
		work.Go(func() {
			results, err := w.try(w.cgroup, exe, s...)
			for _, r := range results {
				if r.Err != "" {
					err = errors.Join(err, errors.New(r.Err))
				}
			}
			if err != nil {
				w.t.Errorf("workload: %v", err)
			}
		})
	}
	work.Wait()
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestFlood is G6: what is refused faster than anyone reads is counted, and what
// could not be told is counted too, so that told and lost make the whole.
func TestFlood(t *testing.T) {
	const processes, born = 2, 3 // a process is told of when it begins, as one that has come into scope, and when it ends
	n := scaled(200_000, 1_000_000)
	all := int64(n + processes*born)
	w := newWorld(t, rewrite)
	var told, exits atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var reader sync.WaitGroup
	reader.Go(func() {
		w.capture.Events(ctx, func(e Event) {
			told.Add(1)
			if e.Kind == EventExit {
				exits.Add(1)
			}
		})
	})
	for _, l := range w.listeners {
		l.Close()
	}
	lost := w.counter("events_lost")
	w.together(processes, step{Do: "socket"}, step{Do: "refused", Addr: server4, Count: n / processes})
	sum := func() int64 { return told.Load() + int64(w.counter("events_lost")-lost) }
	eventually(t, "told and lost are all", func() bool { return sum() >= all })
	stop()
	reader.Wait()
	surplus, lostNow := sum()-all, int64(w.counter("events_lost")-lost) // an exit may come twice
	if surplus > max(exits.Load()-processes, 0)+lostNow || surplus > processes {
		t.Errorf("told and lost are %d, want %d; exits are %d of it", sum(), all, exits.Load())
	}
	if got := w.counter("denied"); got != uint64(n) {
		t.Errorf("denied = %d, want %d", got, n)
	}
	t.Logf("%d refused: %d told, %d lost", n, told.Load(), w.counter("events_lost")-lost)
}
