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
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
)

// runsPath lists the cgroups of runs, for the daemon after us.
func runsPath(c *config.Config) string { return filepath.Join(c.RunDir, "scopes") }

// OpenScope makes a cgroup and captures it until it is empty.
func (d *Daemon) OpenScope(_ context.Context, r control.ScopeRequest) (*control.Scope, error) {
	dir, err := d.scopes.create(r.Parent)
	if err != nil {
		return nil, err
	}
	return &control.Scope{Cgroup: dir, Trust: trustDir(d.atStart)}, nil
}

// create makes a cgroup below parent and captures it. It is written down first:
// if we die on the way, the next daemon finds it.
func (s *scopes) create(parent string) (string, error) {
	parent = filepath.Clean(parent)
	if parent != s.root && !strings.HasPrefix(parent, s.root+"/") {
		return "", fmt.Errorf("cgroup %s is not below the cgroup2 mount %s", parent, s.root)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving || s.ended {
		return "", errLeaving
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	dir := filepath.Join(parent, fmt.Sprintf("%s%x", runPrefix, id))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cgroup of a run: %w", err)
	}
	s.keep(append(s.open, dir))
	events, err := openEvents(dir)
	if err == nil {
		err = s.hooks.AddScope(dir)
	}
	if err != nil {
		s.forget(dir)
		return "", errors.Join(err, os.Remove(dir))
	}
	s.work.Go(func() { s.watch(dir, events) })
	return dir, nil
}

// adopt takes over the runs of a daemon that died: they are still captured.
func (s *scopes) adopt() {
	s.mu.Lock()
	defer s.mu.Unlock() // the watch of one may end before the next is found
	for _, dir := range readRuns(s.file) {
		events, err := openEvents(dir)
		if err != nil {
			continue
		}
		s.open = append(s.open, dir)
		s.work.Go(func() { s.watch(dir, events) })
	}
}

// readRuns lists the cgroups of runs that are still there.
func readRuns(file string) []string {
	list, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	dirs := strings.Split(string(list), "\n") // which no name of a cgroup has in it
	return slices.DeleteFunc(dirs, func(dir string) bool {
		return !isDir(dir) || !strings.HasPrefix(filepath.Base(dir), runPrefix)
	})
}

// keep remembers what is open, here and for the daemon after us. s.mu is held.
func (s *scopes) keep(open []string) {
	s.open = open
	list := strings.Join(open, "\n")
	if list == "" {
		s.log("scopes", removeIfThere(s.file))
		return
	}
	s.log("scopes", replaceFile(s.file, []byte(list+"\n")))
}

// replaceFile leaves the old content or the new, whenever we die.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *scopes) forget(dir string) {
	s.keep(slices.DeleteFunc(slices.Clone(s.open), func(d string) bool { return d == dir }))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openEvents opens the file that tells whether a cgroup or one below it has a
// process, and reads it: the kernel tells of changes after that.
func openEvents(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err == nil {
		isPopulated(f)
	}
	return f, err
}

// watch ends a run's scope when its last process has left, or if nobody came.
func (s *scopes) watch(dir string, events *os.File) {
	defer events.Close()
	joined, made := false, madeAt(dir)
	for s.ctx.Err() == nil {
		changed, err := awaitChange(events)
		populated := isPopulated(events)
		joined = joined || populated || changed
		if err != nil || !populated && (joined || time.Since(made) > scopeGrace) {
			s.close(dir)
			return
		}
	}
}

// madeAt is when a cgroup was made, as nearly as its directory tells.
func madeAt(dir string) time.Time {
	info, err := os.Stat(dir)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// awaitChange waits for a change of a cgroup's events since they were last read,
// and reports whether there was one; it returns at times without, so that the
// caller can look around. A command that comes and goes between two looks is a
// change too.
func awaitChange(events *os.File) (bool, error) {
	const pause = 100 // milliseconds
	poll := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
	n, err := unix.Poll(poll, pause)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// isPopulated reads the events of a cgroup; one that is gone has no process.
func isPopulated(events *os.File) bool {
	var b [256]byte
	n, _ := events.ReadAt(b[:], 0)
	return bytes.Contains(b[:n], []byte("populated 1"))
}

func (s *scopes) close(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isDir(dir) {
		s.log("close scope", s.hooks.RemoveScope(dir))
		s.log("close scope", removeTree(dir))
	}
	s.forget(dir)
	if len(s.open) == 0 {
		s.mayLeave()
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
