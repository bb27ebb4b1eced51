package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// starterEnv names the descriptor by which a successor says why it ends.
const starterEnv = "OUTWARDEN_STARTER_FD"

// longestWhy is how much of that is listened to, in bytes.
const longestWhy = 16 << 10

// StartSuccessor starts cmd, which is to take over, and gives why it ended: Words, if
// it said any to its Starter, as it may not have come as far as our door. Where a
// service manager is our parent, the successor has to be its child too, a sibling of
// ours: of a main process that is another's child it does not await the end, and
// kills what it was told to stop.
func StartSuccessor(cmd *exec.Cmd, sibling bool) (<-chan error, error) {
	words, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d", starterEnv, 3+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	wait := cmd.Wait
	if sibling {
		pidfd := -1
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, PidFD: &pidfd}
		wait = func() error { return awaitEnd(pidfd) }
	}
	if err := cmd.Start(); err != nil {
		words.Close()
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		why, _ := io.ReadAll(io.LimitReader(words, longestWhy)) // until it ends, or serves
		words.Close()
		ended <- whyItEnded(string(why), wait())
	}()
	return ended, nil
}

// awaitEnd waits for the end of a process that is not our child, and closes pidfd. How
// it ended its parent alone is told.
func awaitEnd(pidfd int) error {
	defer unix.Close(pidfd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}

// Words are why a successor ended, as it said itself.
type Words string

func (w Words) Error() string { return string(w) }

func whyItEnded(why string, err error) error {
	if why != "" {
		return Words(why)
	}
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// Starter is the daemon that started us to take over, as we see it; the zero value:
// nobody did. The caller closes it.
type Starter struct{ words *os.File }

// TakeStarter finds out who started us. What we start ourselves does not learn of
// it.
func TakeStarter() Starter {
	fd, err := strconv.Atoi(os.Getenv(starterEnv))
	_ = os.Unsetenv(starterEnv)
	if err != nil || fd < 3 {
		return Starter{}
	}
	unix.CloseOnExec(fd)
	return Starter{os.NewFile(uintptr(fd), "starter")}
}

// Tell tells it why we end.
func (s Starter) Tell(why error) { _, _ = io.WriteString(s.words, why.Error()) } // it may have gone

// Close ends what there is to be told.
func (s Starter) Close() { _ = s.words.Close() }
