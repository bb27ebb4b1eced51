package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
)

// existing is what is to be looked at for connections that the hooks never saw,
// and how many were found.
type existing struct {
	joins   chan flow.Caller // those that have come into scope
	all     chan struct{}    // holds a value when every process is to be looked at
	found   atomic.Uint64
	reset   atomic.Uint64
	senders atomic.Uint64 // processes in scope that may send frames past us
	resets  atomic.Bool   // whether they are reset; not under Daemon.changing, which waits for us
}

func newExisting() *existing {
	const waiting = 1024
	return &existing{joins: make(chan flow.Caller, waiting), all: make(chan struct{}, 1)}
}

// joined has a process looked at; where too many wait, all are.
func (e *existing) joined(by flow.Caller) {
	select {
	case e.joins <- by:
	default:
		e.rescan()
	}
}

// rescan has every process looked at: the scope has changed.
func (e *existing) rescan() {
	select {
	case e.all <- struct{}{}:
	default: // it is about to be done
	}
}

// watchExisting records the connections that stood before their process came
// into scope, and resets them where the configuration says so.
func (d *Daemon) watchExisting(ctx context.Context) {
	for {
		var found []capture.Existing
		var err error
		var reset bool
		var known func(start time.Duration) bool // tells who was looked at from who has the pid now
		select {
		case <-ctx.Done():
			return
		case <-d.existing.all:
			d.warnOfFrames()
			known = startedBy(boottime())
			reset = d.existing.resets.Load()
			found, err = d.capture.Existing(reset)
		case by := <-d.existing.joins:
			known = func(start time.Duration) bool { return process.SameStart(start, by.Start) }
			reset = d.existing.resets.Load()
			found, err = d.capture.ExistingOf(by.PID, reset)
		}
		d.report("existing connections", err)
		for i := range found {
			d.recordExisting(&found[i], reset, known)
		}
	}
}

// warnOfFrames says how many workloads can send what no hook sees.
func (d *Daemon) warnOfFrames() {
	senders, err := d.capture.FrameSenders()
	d.report("capabilities of workloads", err)
	if d.existing.senders.Swap(uint64(len(senders))) == uint64(len(senders)) || len(senders) == 0 {
		return
	}
	d.o.Log.WithField("processes", len(senders)).Warn("processes in scope hold CAP_NET_RAW: frames that they make themselves are neither refused nor recorded")
}

// startedBy holds for processes that were there when the look at all of them began.
func startedBy(began time.Duration) func(start time.Duration) bool {
	return func(start time.Duration) bool { return start <= began }
}

// boottime is now, as starts of processes are given.
func boottime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // never fails
	return time.Duration(now.Nano())
}

func (d *Daemon) recordExisting(e *capture.Existing, reset bool, known func(start time.Duration) bool) {
	d.existing.found.Add(1)
	f, err := d.processes.Caller(e.PID)
	if err != nil || !known(f.Caller.Start) { // it has left, and another may have its pid
		f = &flow.Flow{Caller: flow.Caller{PID: e.PID}}
	}
	f.Cookie, f.Source, f.Original, f.Reason = e.Cookie, e.Local, e.Remote, flow.ReasonExisting
	d.report("reset an existing connection", e.Reset)
	if !reset || e.Reset != nil {
		d.recordVerdict(f, policy.Passthrough)
		return
	}
	d.existing.reset.Add(1)
	d.recordVerdict(f, policy.Deny)
}
