package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/process"
)

// role is the client, the proxy or the origin: a cgroup, a network namespace and
// maybe a core.
type role struct {
	dir  string // cgroup directory
	ns   string
	core int // -1: any
}

// command is a process to start in a role.
type command struct {
	args []string
	env  []string // added to ours
	in   io.Reader
	out  io.Writer
	log  io.Writer
}

// roles makes the cgroups.
func (w *world) roles() error {
	mount, err := process.CgroupMount()
	if err != nil {
		return err
	}
	w.mounted = mount
	w.cgroup = filepath.Join(mount, fmt.Sprintf("outwarden-bench-%d", os.Getpid()))
	if err := os.Mkdir(w.cgroup, 0o755); err != nil {
		return err
	}
	w.later(func() error { return os.Remove(w.cgroup) })
	first, second := -1, -1
	if w.plan.pin {
		if runtime.NumCPU() < 2 {
			return errors.New("needs two cores; with -free one is enough")
		}
		first, second = 0, 1
	}
	w.client = &role{filepath.Join(w.cgroup, "client"), hostNS, second}
	w.proxy = &role{filepath.Join(w.cgroup, "proxy"), hostNS, first}
	w.origin = &role{filepath.Join(w.cgroup, "origin"), originNS, second}
	for _, r := range []*role{w.client, w.proxy, w.origin} {
		if err := os.Mkdir(r.dir, 0o755); err != nil {
			return err
		}
		w.later(func() error { return errors.Join(r.kill(), os.Remove(r.dir)) })
	}
	return nil
}

// anywhere is the role on any core.
func (r *role) anywhere() *role { return &role{r.dir, r.ns, -1} }

// start begins a process in the role. Its cgroup ends it, not ctx.
func (r *role) start(c command) (*exec.Cmd, error) {
	dir, err := os.Open(r.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setpgid: true}
	err = inNS(r.ns, func() error {
		if r.core >= 0 {
			var set unix.CPUSet
			set.Set(r.core)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				return err
			}
		}
		return cmd.Start()
	})
	return cmd, err
}

// output runs a process to its end, or to that of ctx.
func (r *role) output(ctx context.Context, c command) ([]byte, error) {
	var out bytes.Buffer
	c.out, c.log = &out, &out
	cmd, err := r.start(c)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %v: %s", filepath.Base(c.args[0]), err, tail(out.Bytes()))
	}
	return out.Bytes(), nil
}

// inNS calls f on a thread of its own in a network namespace. Processes that f
// starts are in it, too, and have the thread's cores.
func inNS(name string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := os.Open(filepath.Join("/run/netns", name))
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// cpu is what the role's processes used so far.
func (r *role) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(filepath.Join(r.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(stat), "usage_usec ")
	line, _, _ := strings.Cut(after, "\n")
	micros, err := strconv.ParseInt(line, 10, 64)
	return time.Duration(micros) * time.Microsecond, err
}

func (r *role) pids() []string {
	list, err := os.ReadFile(filepath.Join(r.dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(list))
}

// resident is the memory of the role's processes in bytes.
func (r *role) resident() int64 {
	rss := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
	var sum int64
	for _, pid := range r.pids() {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if m := rss.FindSubmatch(status); err == nil && m != nil {
			kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
			sum += kb << 10
		}
	}
	return sum
}

// kill ends what is left in the role, without a word. It leaves cgroup.kill
// alone: Linux 6.18 also kills whoever is born into a cgroup after that.
func (r *role) kill() error { return r.empty(syscall.SIGKILL) }

// empty tells all processes of the role to leave, and waits for it.
func (r *role) empty(how syscall.Signal) error {
	for i := range 500 {
		pids := r.pids()
		if len(pids) == 0 {
			return nil
		}
		if i == 0 || how == syscall.SIGKILL {
			for _, pid := range pids {
				_ = tell(pid, how) // it may be gone by now
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	return fmt.Errorf("processes stay in %s", r.dir)
}

func tell(pid string, s syscall.Signal) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	return syscall.Kill(n, s)
}

// tail is the end of an output.
func tail(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-600):])
}
