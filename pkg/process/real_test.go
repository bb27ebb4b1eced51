package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// child names what a re-executed test binary does instead of testing.
const child = "OUTWARDEN_PROCESS_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "":
		os.Exit(m.Run())
	case "wait":
		wait()
	case "exec":
		wait()
		fmt.Fprintln(os.Stdout, syscall.Exec(os.Args[1], os.Args[1:], nil))
	case "wrap":
		wrap()
	case "headless":
		headless()
	}
}

// wait says that it is there and stays until its input has a line or ends.
func wait() {
	fmt.Fprintln(os.Stdout, "ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func init() {
	if os.Getenv(child) == "headless" {
		runtime.LockOSThread() // to the first thread
	}
}

// headless ends the first thread, and goes on as wait does.
func headless() {
	go func() {
		for b := []byte(nil); !bytes.Contains(b, []byte(") Z ")); b, _ = os.ReadFile("/proc/self/stat") {
			runtime.Gosched()
		}
		wait()
		os.Exit(0)
	}()
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// spawned is a running child.
type spawned struct {
	*exec.Cmd
	in  io.WriteCloser
	pid uint32
}

// spawn starts a program that answers on its output, and waits for the answer.
func spawn(t testing.TB, cmd *exec.Cmd) *spawned {
	t.Helper()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &spawned{cmd, in, uint32(cmd.Process.Pid)}
	t.Cleanup(func() { s.stop() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("child did not answer: %v", err)
	}
	return s
}

func (s *spawned) stop() {
	s.in.Close()
	s.Process.Kill()
	s.Wait()
}

func (s *spawned) proceed() { io.WriteString(s.in, "\n") }

func self(mode string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), child+"="+mode)
	return cmd
}

// connected is a flow of the process as it is now.
func connected(t testing.TB, r *Resolver, pid uint32) *flow.Flow {
	t.Helper()
	f, err := r.Caller(pid)
	must(t, err)
	return f
}

func TestRealProcess(t *testing.T) {
	r := NewResolver(Options{})
	s := spawn(t, self("wait", "one", "two words"))
	got, err := r.Resolve(connected(t, r, s.pid))
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	sum, err := exec.Command("sha256sum", exe).Output()
	must(t, err)
	wantKnown(t, got, exe, strings.Fields(string(sum))[0], "/proc/self/exe", "one", "two words")
	if got.UID != uint32(os.Geteuid()) || got.Gone {
		t.Errorf("got %s", got.JSON())
	}
	if len(got.Parents) == 0 || got.Parents[0] != (Parent{uint32(os.Getpid()), exe}) {
		t.Errorf("parents %v, want this process first", got.Parents)
	}
	if off := time.Since(got.Start); off < -time.Second || off > time.Minute {
		t.Errorf("started %v ago", off)
	}
}

func TestRealProcessLeaves(t *testing.T) {
	r := NewResolver(Options{})
	s := spawn(t, self("wait"))
	f := connected(t, r, s.pid)
	s.in.Close()
	must(t, unix.Waitid(unix.P_PID, int(s.pid), nil, unix.WEXITED|unix.WNOWAIT, nil)) // a zombie now
	if got, err := r.Resolve(f); !errors.Is(err, flow.ReasonIdentityGone) || got.Exe != "" {
		t.Errorf("zombie: %q, %v", got.Exe, err)
	}
	s.Wait()
	if got, err := r.Resolve(f); !errors.Is(err, flow.ReasonIdentityGone) || got.Exe != "" {
		t.Errorf("no process: %q, %v", got.Exe, err)
	}
}

func TestRealExecAfterConnect(t *testing.T) {
	r := NewResolver(Options{})
	cat, err := exec.LookPath("cat")
	must(t, err)
	s := spawn(t, self("exec", cat))
	f := connected(t, r, s.pid)
	s.proceed()
	later := f
	for later.Caller.Exe == f.Caller.Exe { // until it has become cat
		later = connected(t, r, s.pid)
	}
	got, err := r.Resolve(f)
	must(t, err)
	wantUnknown(t, got)
	got, err = r.Resolve(later)
	must(t, err)
	if real, _ := filepath.EvalSymlinks(cat); got.Exe != real {
		t.Errorf("after the exec: %q, want %q", got.Exe, real)
	}
}

func TestRealDeletedExecutable(t *testing.T) {
	exe := copyOf(t, "/proc/self/exe")
	r := NewResolver(Options{})
	cmd := self("wait")
	cmd.Path = exe
	s := spawn(t, cmd)
	must(t, os.Remove(exe))
	got, err := r.Resolve(connected(t, r, s.pid))
	must(t, err)
	if got.Exe != exe || len(got.ExeSHA256) != 64 {
		t.Errorf("got exe %q, digest %q; want where it was, %q, and a digest", got.Exe, got.ExeSHA256, exe)
	}
}

func copyOf(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(to, b, 0o755))
	return to
}

// A process in a mount namespace of its own calls itself what it wants.
func TestRealPathIsNotFaked(t *testing.T) {
	netnstest.RequireRoot(t)
	trusted := filepath.Join(t.TempDir(), "trusted")
	must(t, os.WriteFile(trusted, []byte("the real one"), 0o755))
	evil := copyOf(t, "/proc/self/exe")
	cmd := exec.Command("sh", "-c", `mount --bind "$1" "$2" && exec "$2"`, "sh", evil, trusted)
	cmd.Env = append(os.Environ(), child+"=wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	s := spawn(t, cmd)
	r := NewResolver(Options{})
	got, err := r.Resolve(connected(t, r, s.pid))
	must(t, err)
	if got.Exe != "" || got.ExeInside == "" {
		t.Errorf("got exe %q, inside %q", got.Exe, got.ExeInside)
	}
	if got.ExeSHA256 == "" {
		t.Error("the digest is of the file itself and can be told")
	}
}

func TestRealCgroup(t *testing.T) {
	group := netnstest.Cgroup(t)
	want := strings.TrimPrefix(group, netnstest.CgroupMount(t))
	r := NewResolver(Options{})
	s := spawn(t, self("wait"))
	must(t, os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, s.pid), 0))
	f := connected(t, r, s.pid)
	if f.Cgroup == 0 {
		t.Fatal("no cgroup id")
	}
	must(t, os.WriteFile(netnstest.CgroupMount(t)+"/cgroup.procs", fmt.Append(nil, s.pid), 0)) // moved after connect
	if got, err := r.Resolve(f); err != nil || got.Cgroup != want {
		t.Errorf("got %q, %v; want the cgroup of the connect, %q", got.Cgroup, err, want)
	}
	s.stop()
	if got, _ := NewResolver(Options{}).Resolve(f); got.Cgroup != want {
		t.Errorf("process gone: got %q, want %q", got.Cgroup, want)
	}
	f.Cgroup = 1 << 62
	if got, _ := r.Resolve(f); got.Cgroup != "" {
		t.Errorf("no such id: got %q", got.Cgroup)
	}
}

// TestRealPathOfNoMount: a process in our own mount namespace can execute from a file
// system that is mounted nowhere, or in another namespace, where any user who makes a
// user namespace puts any file at any path.
func TestRealPathOfNoMount(t *testing.T) {
	netnstest.RequireRoot(t)
	trusted, err := exec.LookPath("cat")
	must(t, err)
	trusted, err = filepath.EvalSymlinks(trusted)
	must(t, err)
	for name, removed := range map[string]bool{"in place": false, "deleted": true} {
		root := detachedMount(t)
		evil := root + trusted
		must(t, os.MkdirAll(filepath.Dir(evil), 0o755))
		b, err := os.ReadFile("/proc/self/exe")
		must(t, err)
		must(t, os.WriteFile(evil, b, 0o755))
		cmd := self("wait")
		cmd.Path = evil
		s := spawn(t, cmd)
		if removed {
			must(t, os.Remove(evil))
		}
		r := NewResolver(Options{})
		got, err := r.Resolve(connected(t, r, s.pid))
		must(t, err)
		if got.Exe != "" || got.ExeInside != trusted || got.ExeSHA256 == "" {
			t.Errorf("%s: got exe %q, inside %q, digest %q; want it inside alone", name, got.Exe, got.ExeInside, got.ExeSHA256)
		}
	}
}

// detachedMount is the root of a tmpfs that is mounted nowhere, as children see it.
func detachedMount(t *testing.T) string {
	t.Helper()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(fs)
	must(t, unix.FsconfigCreate(fs))
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(mount) })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), mount)
}

// TestRealFirstThreadEnds: a process lives as long as one of its threads does, which
// need not be the first.
func TestRealFirstThreadEnds(t *testing.T) {
	r := NewResolver(Options{})
	whole := connected(t, r, spawn(t, self("wait")).pid)
	s := spawn(t, self("headless", "one"))
	f, err := r.Caller(s.pid)
	must(t, err)
	if f.Caller.Exe != whole.Caller.Exe || f.Caller.UID != whole.Caller.UID || f.Cgroup != whole.Cgroup {
		t.Errorf("the caller is %+v of cgroup %d, want it to be as %+v of %d", f.Caller, f.Cgroup, whole.Caller, whole.Cgroup)
	}
	got, err := r.Resolve(f)
	exe, _ := os.Executable()
	if err != nil || got.Gone || got.Exe != exe || len(got.Argv) != 2 || got.ExeSHA256 == "" || len(got.Parents) == 0 {
		t.Errorf("got %s, %v", got.JSON(), err)
	}
	files, err := r.OpenNetns(s.pid, f.Caller.Start, func(Netns) bool { return false })
	if err != nil || len(files) != 1 {
		t.Errorf("it is in %d network namespaces, %v; want one", len(files), err)
	}
	for _, file := range files {
		must(t, file.Close())
	}
	own, err := OwnNetns()
	must(t, err)
	if ns, err := r.Netns(s.pid); err != nil || ns != own {
		t.Errorf("it is in the network namespace %v, %v; want %v", ns, err, own)
	}
}

// TestRealCgroupName: anybody may call a cgroup as the kernel calls one that is gone.
func TestRealCgroupName(t *testing.T) {
	group := netnstest.Subgroup(t, netnstest.Cgroup(t), "x.service (deleted)")
	s := spawn(t, self("wait"))
	must(t, os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, s.pid), 0))
	r := NewResolver(Options{})
	if got, err := r.Resolve(connected(t, r, s.pid)); err != nil || got.Cgroup != strings.TrimPrefix(group, netnstest.CgroupMount(t)) {
		t.Errorf("got %q, %v", got.Cgroup, err)
	}
}

// TestRealGlance: a workload that makes its executable as large as it may be keeps
// nobody waiting but itself.
func TestRealGlance(t *testing.T) {
	cmd := self("wait")
	cmd.Path = copyOf(t, "/proc/self/exe")
	must(t, os.Truncate(cmd.Path, 1000<<20)) // a hole
	s := spawn(t, cmd)
	r := NewResolver(Options{})
	f := connected(t, r, s.pid)
	got, err := r.Glance(f)
	if err != nil || got.Exe != cmd.Path || got.ExeSHA256 != "" {
		t.Errorf("at a glance: %s, %v; want all but the digest", got.JSON(), err)
	}
	whole, err := r.Resolve(f)
	if err != nil || whole.ExeSHA256 == "" {
		t.Errorf("with patience: %s, %v", whole.JSON(), err)
	}
	if got, err := r.Glance(f); err != nil || got.ExeSHA256 != whole.ExeSHA256 {
		t.Errorf("once it is known: %s, %v", got.JSON(), err)
	}
}
