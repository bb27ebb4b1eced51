package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/process"
)

// runPrefix begins the name of every cgroup that we make for `run`.
const runPrefix = "outwarden-run-"

const (
	scopeGrace = 30 * time.Second // for the first process to join, and for the first run to come
	unitPoll   = 2 * time.Second  // between two looks at where units live
)

// hooks is what scopes needs of pkg/capture.
type hooks interface {
	SetScope(include, exclude []string) error
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
	changed   func() // the configuration's subtrees have

	mu               sync.Mutex
	include, exclude []string // of the configuration, as cgroup directories
	applied          []string // what they were, with inodes: a unit that restarts has a new cgroup of the old name
	targets          [2][]config.Target
	open             []string // of `run`
	leaving          bool     // no run is taken in any more
	ended            bool     // the same, and nothing is followed: the daemon after us does
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
		file: runsPath(d.loaded.config), empty: make(chan struct{}, 1), ephemeral: d.o.Ephemeral,
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
		s.targets = [2][]config.Target{c.Capture.Scope, c.Capture.Exclude}
	}
	return s.apply()
}

// apply resolves the targets and hands the whole set over. s.mu is held.
func (s *scopes) apply() error {
	include, exclude := s.resolve(s.targets[0]), s.resolve(s.targets[1])
	state := append(append(inodes(include), "but"), inodes(exclude)...)
	if slices.Equal(state, s.applied) {
		return nil
	}
	if err := s.hooks.SetScope(append(slices.Clone(include), s.open...), exclude); err != nil {
		return err
	}
	s.include, s.exclude, s.applied = include, exclude, state
	s.changed()
	return nil
}

// covers reports whether the processes of a cgroup are captured: the nearest of
// it and its ancestors that is named decides, as it does in the hooks.
func (s *scopes) covers(cgroup string) bool {
	if cgroup == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for dir := filepath.Join(s.root, cgroup); ; dir = filepath.Dir(dir) {
		switch {
		case slices.Contains(s.exclude, dir):
			return false
		case slices.Contains(s.include, dir), slices.Contains(s.open, dir):
			return true
		case len(dir) <= len(s.root):
			return false
		}
	}
}

// inodes says which cgroups the directories are now.
func inodes(dirs []string) []string {
	out := make([]string, len(dirs))
	for i, dir := range dirs {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err == nil {
			out[i] = fmt.Sprint(dir, " ", st.Ino)
		}
	}
	return out
}

// resolve finds the cgroups of targets that are there: a unit that does not run
// has none yet, and a slice without units may have none.
func (s *scopes) resolve(targets []config.Target) []string {
	dirs := []string{}
	for _, t := range targets {
		if t.Cgroup != "" {
			if dir := filepath.Join(s.root, t.Cgroup); isDir(dir) {
				dirs = append(dirs, dir)
			}
			continue
		}
		dirs = append(dirs, unitCgroups(s.root, t.Unit)...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// unitCgroups finds the cgroups of a unit of the system manager, which keeps
// slices and units as directories of their names.
func unitCgroups(root, unit string) []string {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil, !e.IsDir():
			return nil
		case e.Name() == unit:
			dirs = append(dirs, path)
			return fs.SkipDir
		case path == root, strings.HasSuffix(e.Name(), ".slice"):
			return nil
		}
		return fs.SkipDir
	})
	return dirs
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// follow looks for cgroups that came or went, and for an ephemeral daemon that
// nobody came to.
func (s *scopes) follow() {
	tick := time.NewTicker(unitPoll)
	defer tick.Stop()
	grace := time.After(scopeGrace)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-grace:
			s.mayLeave()
		case <-tick.C:
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

// list returns all that is captured and all that is exempt.
func (s *scopes) list() (captured, exempt []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(s.include), s.open...), slices.Clone(s.exclude)
}
