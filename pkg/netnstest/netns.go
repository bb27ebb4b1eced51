package netnstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NS is a network namespace of one test. It has no name in the file system
// and goes when the test ends and the last process in it has left.
type NS struct {
	t    testing.TB
	file *os.File
	once sync.Once
}

// New makes a network namespace whose loopback is up. It needs root.
func New(t testing.TB) *NS {
	t.Helper()
	RequireRoot(t)
	file, err := unshare()
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	n := &NS{t: t, file: file}
	t.Cleanup(n.Release)
	n.Do(func() { up(t, "lo") })
	return n
}

// unshare makes a namespace on a thread of its own, which then dies.
func unshare() (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		done <- result{file, err}
	}()
	r := <-done
	return r.file, r.err
}

// Do runs f with the calling goroutine's thread inside the namespace. f may
// call t.Fatal. Do may be nested.
func (n *NS) Do(f func()) {
	n.t.Helper()
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		n.t.Fatalf("open the current network namespace: %v", err)
	}
	defer back.Close()
	if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
		n.t.Fatalf("enter the network namespace: %v", err)
	}
	defer func() {
		if err := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); err != nil {
			// The thread stays locked, so the runtime throws it away.
			n.t.Errorf("leave the network namespace: %v", err)
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// Release lets go of the namespace before the test ends: it dies with whatever
// else is in it.
func (n *NS) Release() { n.once.Do(func() { n.file.Close() }) }

// Fd is a descriptor of the namespace, valid until the test ends.
func (n *NS) Fd() int { return int(n.file.Fd()) }

// Path names the namespace for other processes, as nsenter --net takes it.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()) }

// Start starts cmd inside the namespace and, unless cgroup is empty, inside
// that cgroup from its first instruction on. The caller waits for it.
func (n *NS) Start(cmd *exec.Cmd, cgroup string) error {
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			return err
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	}
	var err error
	n.Do(func() { err = cmd.Start() }) // a child inherits the namespace of the thread that forks it
	return err
}

// Output runs a command in the namespace and cgroup and returns what it wrote
// to standard output; its standard error goes into the error.
func (n *NS) Output(cgroup, name string, arg ...string) (string, error) {
	cmd := exec.Command(name, arg...)
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Start(cmd, cgroup); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return string(stdout), fmt.Errorf("%s: %w: %s", name, err, stderr)
	}
	return string(stdout), nil
}

// limited keeps the first MiB written to it.
type limited []byte

func (l *limited) Write(p []byte) (int, error) {
	const most = 1 << 20
	*l = append(*l, p[:min(len(p), most-min(len(*l), most))]...)
	return len(p), nil
}

// up brings a link up in the current namespace.
func up(t testing.TB, name string) {
	t.Helper()
	if err := setUp(name); err != nil {
		t.Fatalf("bring %s up: %v", name, err)
	}
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}
