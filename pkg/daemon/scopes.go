package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/process"
)

// runPrefix begins the name of every cgroup that we make for `run`.
const runPrefix = "outwarden-run-"

const (
	scopePoll  = 100 * time.Millisecond // between two looks at whether a scope is empty
	scopeGrace = 30 * time.Second       // for the first process to join
	unitPoll   = 2 * time.Second        // between two looks at where units live
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
	work      sync.WaitGroup
	ephemeral bool          // runs alone: the configuration's scope does not count
	empty     chan struct{} // gets a value when the last run of an ephemeral daemon is over
	log       func(what string, err error)

	mu               sync.Mutex
	include, exclude []string // of the configuration, as cgroup directories
	targets          [2][]config.Target
	open             []string // of `run`
}

func (d *Daemon) openScopes(context.Context) error {
	root, err := process.CgroupMount()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &scopes{
		root: root, hooks: d.capture, ctx: ctx, log: d.report,
		file: filepath.Join(d.loaded.config.RunDir, "scopes"), empty: make(chan struct{}), ephemeral: d.o.Ephemeral,
	}
	d.scopes = s
	d.later(func() { stop(); s.work.Wait() })
	s.adopt()
	if err := s.configure(d.loaded.config); err != nil {
		return err
	}
	s.work.Go(s.followUnits)
	return nil
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
	if slices.Equal(include, s.include) && slices.Equal(exclude, s.exclude) && s.include != nil {
		return nil
	}
	if err := s.hooks.SetScope(append(slices.Clone(include), s.open...), exclude); err != nil {
		return err
	}
	s.include, s.exclude = include, exclude
	return nil
}

// resolve finds the cgroups of targets. A unit that does not run has none yet.
func (s *scopes) resolve(targets []config.Target) []string {
	dirs := []string{}
	for _, t := range targets {
		if t.Cgroup != "" {
			dirs = append(dirs, filepath.Join(s.root, t.Cgroup))
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

// followUnits looks for units that started or stopped.
func (s *scopes) followUnits() {
	tick := time.NewTicker(unitPoll)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		s.log("capture scope", s.apply())
		s.mu.Unlock()
	}
}

// OpenScope makes a cgroup and captures it until it is empty.
func (d *Daemon) OpenScope(_ context.Context, r control.ScopeRequest) (*control.Scope, error) {
	dir, err := d.scopes.create(r.Parent)
	if err != nil {
		return nil, err
	}
	return &control.Scope{Cgroup: dir, Trust: d.trust.Dir()}, nil
}

// create makes a cgroup below parent and captures it.
func (s *scopes) create(parent string) (string, error) {
	parent = filepath.Clean(parent)
	if parent != s.root && !strings.HasPrefix(parent, s.root+"/") {
		return "", fmt.Errorf("cgroup %s is not below the cgroup2 mount %s", parent, s.root)
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	dir := filepath.Join(parent, fmt.Sprintf("%s%x", runPrefix, id))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cgroup of a run: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.hooks.AddScope(dir); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	s.keep(append(s.open, dir))
	s.work.Go(func() { s.watch(dir) })
	return dir, nil
}

// adopt takes over the runs of a daemon that died: they are still captured.
func (s *scopes) adopt() {
	list, err := os.ReadFile(s.file)
	if err != nil {
		return
	}
	for dir := range strings.Lines(string(list)) {
		dir = strings.TrimSuffix(dir, "\n")
		if _, err := os.Stat(dir); err != nil || !strings.HasPrefix(filepath.Base(dir), runPrefix) {
			continue
		}
		s.open = append(s.open, dir)
		s.work.Go(func() { s.watch(dir) })
	}
}

// keep remembers what is open, here and for the daemon after us. s.mu is held.
func (s *scopes) keep(open []string) {
	s.open = open
	list := strings.Join(open, "\n")
	if list == "" {
		s.log("scopes", removeIfThere(s.file))
		return
	}
	s.log("scopes", os.WriteFile(s.file, []byte(list+"\n"), 0o600))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// watch ends a run's scope when its last process has left, or if nobody came.
func (s *scopes) watch(dir string) {
	tick := time.NewTicker(scopePoll)
	defer tick.Stop()
	joined, opened := false, time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		populated, err := isPopulated(dir)
		joined = joined || populated
		over := err != nil || !populated && (joined || time.Since(opened) > scopeGrace)
		if over {
			s.close(dir)
			return
		}
	}
}

// isPopulated reports whether any process is in a cgroup or below it.
func isPopulated(dir string) (bool, error) {
	events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return bytes.Contains(events, []byte("populated 1")), err
}

func (s *scopes) close(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log("close scope", s.hooks.RemoveScope(dir))
	s.log("close scope", removeTree(dir))
	s.keep(slices.DeleteFunc(slices.Clone(s.open), func(d string) bool { return d == dir }))
	if s.ephemeral && len(s.open) == 0 {
		select {
		case s.empty <- struct{}{}:
		case <-s.ctx.Done():
		}
	}
}

// removeTree removes an empty cgroup with the empty ones that the workload made
// in it, the deepest first.
func removeTree(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var failed error
	for _, d := range slices.Backward(dirs) {
		failed = errors.Join(failed, removeIfThere(d))
	}
	return failed
}

// lastLeft gets a value when an ephemeral daemon has nobody left to serve.
func (s *scopes) lastLeft() <-chan struct{} { return s.empty }

func (s *scopes) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// list returns all that is captured and all that is exempt.
func (s *scopes) list() (captured, exempt []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(s.include), s.open...), slices.Clone(s.exclude)
}
