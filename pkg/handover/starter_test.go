package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStartSuccessor: whoever starts a successor learns why it ended, in its own words
// where it has any.
func TestStartSuccessor(t *testing.T) {
	for script, want := range map[string]string{
		`echo "no such port" >&$OUTWARDEN_STARTER_FD; exit 1`: "no such port\n",
		`exit 7`:                         "exit status 7",
		`kill -KILL $$`:                  "signal: killed",
		`true`:                           "it ended",
		`exec 3>&-; exec sh -c "exit 5"`: "exit status 5", // it served
		`yes >&$OUTWARDEN_STARTER_FD`:    strings.Repeat("y\n", longestWhy/2),
	} {
		ended, err := StartSuccessor(exec.Command("/bin/sh", "-c", script), false)
		if err != nil {
			t.Fatal(err)
		}
		if why := <-ended; why.Error() != want {
			t.Errorf("%s: %.40q, want %.40q", script, why, want)
		}
	}
	if _, err := StartSuccessor(exec.Command("/nonexistent"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// TestSibling: a successor may be the child of our parent; its end is awaited all the
// same, and no sooner.
func TestSibling(t *testing.T) {
	stdin, goOn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	said, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command("/bin/sh", "-c", `exec 3>&-; echo $PPID; read line`)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	ended, err := StartSuccessor(cmd, true)
	if err := errors.Join(err, stdin.Close(), stdout.Close()); err != nil {
		t.Fatal(err)
	}
	var parent int
	if _, err := fmt.Fscan(said, &parent); err != nil || parent != os.Getppid() {
		t.Errorf("its parent is %d, %v; want ours, %d", parent, err, os.Getppid())
	}
	select {
	case why := <-ended:
		t.Errorf("it lives, and ended: %v", why)
	default:
	}
	goOn.Close()
	if why := <-ended; why.Error() != "it ended" {
		t.Errorf("it ended: %v", why)
	}
}

// TestStarter: what a successor says arrives, and what it starts has no part in it.
func TestStarter(t *testing.T) {
	TakeStarter().Tell(errors.New("nobody started us"))
	words, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	fd, err := unix.Dup(int(theirs.Fd()))
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(starterEnv, strconv.Itoa(fd))
	s := TakeStarter()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags of the descriptor: %#x, %v", flags, err)
	}
	if again, is := os.LookupEnv(starterEnv); is {
		t.Errorf("the environment has %q", again)
	}
	s.Tell(errors.New("no such port"))
	s.Close()
	if said, err := io.ReadAll(words); err != nil || string(said) != "no such port" {
		t.Errorf("said %q, %v", said, err)
	}
}
