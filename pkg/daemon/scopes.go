package daemon

import (
	"context"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/process"
)

// runPrefix begins the name of every cgroup that we make for `run`.
const runPrefix = "outwarden-run-"

const (
	scopeGrace = 30 * time.Second // for the first process to join, and for the first run to come
	scopePoll  = 2 * time.Second  // between two looks at which cgroups are there; the kernel tells of most
)

// hooks is what scopes needs of pkg/capture.
type hooks interface {
	SetScope(include, exclude capture.Names) (changed bool, err error)
	Scope() (included, excluded []string)
	AddScope(cgroup string) error
	RemoveScope(cgroup string) error
}

// scopes keeps what is captured: the subtrees of the configuration, and one
// cgroup for each `run`.
type scopes struct {
	root      string // cgroup2 mount
	file      string // lists the cgroups of runs, for the daemon after us
	hooks     hooks
	ctx       context.Context // ends when the daemon stops
	stop      context.CancelFunc
	work      sync.WaitGroup
	ephemeral bool          // runs alone: the configuration's scope does not count
	empty     chan struct{} // holds a value when an ephemeral daemon may have nobody left
	log       func(what string, err error)
	changed   func()        // the configuration's subtrees have
	made      chan struct{} // holds a value when a cgroup was made that is of them

	mu               sync.Mutex
	include, exclude capture.Names // of the configuration
	open             []string      // of `run`
	leaving          bool          // no run is taken in any more
	ended            bool          // the same, and nothing is followed: the daemon after us does
}

// errLeaving sends a run to the daemon after us.
var errLeaving = &control.Error{Status: http.StatusServiceUnavailable, Message: "the daemon is leaving"}

func (d *Daemon) beginScopes() error {
	root, err := process.CgroupMount()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &scopes{
		root: root, hooks: d.capture, ctx: ctx, log: d.report,
		file: runsPath(d.atStart), empty: make(chan struct{}, 1), made: make(chan struct{}, 1), ephemeral: d.o.Ephemeral,
		changed: func() { d.namespaces.look(); d.existing.rescan() },
	}
	s.stop, d.scopes = stop, s
	s.adopt()
	if err := s.configure(d.loaded.config); err != nil {
		return err
	}
	s.work.Go(s.follow)
	return d.replaceEphemeral()
}

// configure makes the configuration's subtrees captured, beside what `run` has.
func (s *scopes) configure(c *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ephemeral {
		s.include, s.exclude = namesOf(c.Capture.Scope), namesOf(c.Capture.Exclude)
	}
	return s.apply()
}

// namesOf are what targets call their cgroups.
func namesOf(targets []config.Target) (n capture.Names) {
	for _, t := range targets {
		if t.Cgroup != "" {
			n.Paths = append(n.Paths, t.Cgroup)
		} else {
			n.Units = append(n.Units, t.Unit)
		}
	}
	return n
}

// apply hands the whole set over, for a unit that restarts has a new cgroup of
// the old name. s.mu is held.
func (s *scopes) apply() error {
	include := s.include
	include.Paths = append(slices.Clone(include.Paths), s.open...)
	changed, err := s.hooks.SetScope(include, s.exclude)
	if changed {
		s.changed()
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// follow looks for cgroups that came or went, and for an ephemeral daemon that
// nobody came to.
func (s *scopes) follow() {
	tick := time.NewTicker(scopePoll)
	defer tick.Stop()
	grace := time.After(scopeGrace)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-grace:
			s.mayLeave()
		case <-tick.C:
		case <-s.made:
		}
		s.mu.Lock()
		s.log("capture scope", s.apply())
		s.mu.Unlock()
	}
}

// lastLeft gets a value when an ephemeral daemon may have nobody left to serve.
func (s *scopes) lastLeft() <-chan struct{} { return s.empty }

func (s *scopes) mayLeave() {
	select {
	case s.empty <- struct{}{}:
	default: // it knows
	}
}

// leave reports whether the daemon is ephemeral and nobody needs it. From then
// on no run is taken in.
func (s *scopes) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = s.leaving || s.ephemeral && len(s.open) == 0
	return s.leaving
}

// end leaves the scopes as they are to the daemon after us.
func (s *scopes) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
}

// look has follow look at once, for a cgroup was made.
func (s *scopes) look() {
	select {
	case s.made <- struct{}{}:
	default: // it will
	}
}
