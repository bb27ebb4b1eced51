package capture

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestEvents: what is not redirected is told, with identity and reason.
func TestEvents(t *testing.T) {
	w := newWorld(t, rewrite)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan Event, 100)
	ended := make(chan error)
	go func() { ended <- w.capture.Events(ctx, func(e Event) { events <- e }) }()

	got := w.run(w.cgroup, step{Do: "self"}, step{Do: "socket"}, step{Do: "connect", Addr: other4}, step{Do: "read"},
		step{Do: "socket", Kind: "udp"}, step{Do: "sendto", Addr: server4}, step{Do: "sendto", Addr: "203.0.113.10:53"})
	if !strings.HasPrefix(got[3].Text, "direct") || got[5].Err != refused || got[6].Err != "" {
		t.Errorf("workload: %+v", got)
	}
	w.run(w.outside, step{Do: "socket"}, step{Do: "connect", Addr: other4}) // not in scope: no events
	checkEvents(t, events, got[0].Text)
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("Events returned %v", err)
	}
}

// checkEvents reads the five events of the workload who.
func checkEvents(t *testing.T, events <-chan Event, who string) {
	t.Helper()
	want := []struct {
		kind     EventKind
		reason   flow.Reason
		original string
	}{
		{EventExec, flow.ReasonNone, "invalid AddrPort"},
		{EventJoin, flow.ReasonNone, "invalid AddrPort"}, // it was born of the test, which is not in scope
		{EventPass, flow.ReasonPortNotCaptured, other4},
		{EventDeny, flow.ReasonQUICRefused, server4},
		{EventExit, flow.ReasonNone, "invalid AddrPort"},
	}
	var start time.Duration
	for i, want := range want {
		e := <-events
		if e.Kind != want.kind || e.Flow.Reason != want.reason || e.Flow.Original.String() != want.original {
			t.Errorf("event %d: %+v, want %+v", i, e, want)
		}
		if pid := fmt.Sprint(e.Flow.Caller.PID) + " "; !strings.HasPrefix(who, pid) {
			t.Errorf("event %d is of process %s, want %s", i, pid, who)
		}
		exe := fmt.Sprintf(" %d %d", e.Flow.Caller.Exe.Dev, e.Flow.Caller.Exe.Inode)
		if e.Kind != EventExit && !strings.HasSuffix(who, exe) {
			t.Errorf("event %d is of executable%s, want %s", i, exe, who)
		}
		if start != 0 && e.Flow.Caller.Start != start {
			t.Errorf("event %d: process started at %v, earlier event said %v", i, e.Flow.Caller.Start, start)
		}
		start = e.Flow.Caller.Start
	}
	for len(events) > 0 {
		if e := <-events; e.Kind != EventExit || !strings.HasPrefix(who, fmt.Sprint(e.Flow.Caller.PID)+" ") {
			t.Errorf("one event too many: %+v", e)
		}
	}
}
