package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestPidsWrap runs two thousand short-lived processes of two programs in a pid
// namespace in which the pids are dealt from the start again and again, and
// looks each of them up while it lives and after its pid went to another.
func TestPidsWrap(t *testing.T) {
	netnstest.RequireRoot(t)
	cmd := self("wrap", copyOf(t, "/bin/cat"), copyOf(t, "/bin/cat"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(string(out), cannotWrap) {
		netnstest.Skip(t, string(out))
	}
	var processes, reused, wrong int
	if _, err := fmt.Sscan(string(out), &processes, &reused, &wrong); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d processes, %d looked up after their pid was reused", processes, reused)
	if wrong != 0 || reused < processes/4 {
		t.Errorf("%d processes, %d reused pids, %d wrong: %s", processes, reused, wrong, out)
	}
}

const (
	cannotWrap = "this kernel has no ns_last_pid (CONFIG_CHECKPOINT_RESTORE)"
	lastPid    = "/proc/sys/kernel/ns_last_pid" // of the pid namespace, not of the host
)

// past is a flow of a process that has ended.
type past struct {
	flow *flow.Flow
	exe  string
}

// wrap is the child of TestPidsWrap: pid 1 of its namespace. It prints how many
// processes it made, how many pids were in other hands when their flow was
// looked up again, and how many answers were wrong.
func wrap() {
	check(unix.Mount("proc", "/proc", "proc", 0, ""))
	const rounds, live, remembered = 40, 50, 200
	if _, err := os.Stat(lastPid); err != nil {
		fmt.Fprintln(os.Stdout, cannotWrap)
		return
	}
	r := NewResolver(Options{})
	var old []past
	processes, reused, wrong := 0, 0, 0
	for round := range rounds {
		check(os.WriteFile(lastPid, []byte("1000"), 0))
		exe := os.Args[1+round%2]
		now, stop := crowd(r, exe, live)
		for _, p := range now {
			processes++
			if id, err := r.Resolve(p.flow); err != nil || id.Exe != p.exe {
				fmt.Fprintln(os.Stderr, "alive:", err, id.Exe)
				wrong++
			}
		}
		for _, p := range old { // of another program, or of this one rounds ago: a fresh look each
			if _, err := os.Stat(fmt.Sprint("/proc/", p.flow.Caller.PID)); err == nil {
				reused++
			}
			if id, err := NewResolver(Options{}).Resolve(p.flow); !errors.Is(err, flow.ReasonIdentityGone) || id.Exe != "" {
				wrong++
			}
		}
		stop()
		old = append(old, now...)
		old = old[max(0, len(old)-remembered):]
	}
	fmt.Fprintln(os.Stdout, processes, reused, wrong)
}

// crowd runs n processes of one program until stop is called.
func crowd(r *Resolver, exe string, n int) (flows []past, stop func()) {
	var running []*exec.Cmd
	var inputs []interface{ Close() error }
	for range n {
		cmd := exec.Command(exe)
		in, err := cmd.StdinPipe()
		check(err)
		check(cmd.Start())
		f, err := r.Caller(uint32(cmd.Process.Pid))
		check(err)
		flows = append(flows, past{f, exe})
		running, inputs = append(running, cmd), append(inputs, in)
	}
	return flows, func() {
		for i, cmd := range running {
			check(inputs[i].Close())
			check(cmd.Wait())
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
