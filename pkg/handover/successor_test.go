package handover

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEnd: who does not answer is dead once End returns, and what it had is closed.
func TestEnd(t *testing.T) {
	ours, theirs := lines(t)
	held, err := theirs.conn.File()
	must(t, err)
	hangs := exec.Command("sleep", "600")
	hangs.ExtraFiles = []*os.File{held}
	must(t, hangs.Start())
	t.Cleanup(func() { _ = hangs.Process.Kill(); _ = hangs.Wait() })
	must(t, held.Close())
	theirs.close()
	_, silent := ours.receive(time.Nanosecond)
	if !errors.Is(silent, os.ErrDeadlineExceeded) {
		t.Fatalf("one that hangs: %v", silent)
	}
	s := &Successor{PID: hangs.Process.Pid, line: ours}
	s.End(silent)
	if n, err := peek(ours); n != 0 || err != nil {
		t.Errorf("its end is open still: %d, %v", n, err)
	}
}

// peek reads without waiting, and takes nothing.
func peek(l *line) (n int, err error) {
	rc, err := l.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := rc.Control(func(fd uintptr) {
		n, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return n, errors.Join(failed, err)
}

// TestDoorOutOfDescriptors: a successor that comes while none is left to let it in
// waits, and the door stays open.
func TestDoorOutOfDescriptors(t *testing.T) {
	r := run(t, Terms{})
	f, err := os.Open(os.DevNull)
	must(t, err)
	last := f.Fd() // the lowest that was free
	must(t, f.Close())
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	restore := func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }
	defer restore()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(last) + 1, Max: limit.Max}))
	refused := make(chan error, 1)
	go func() {
		var got Inherited
		defer got.Close()
		_, err := Meet(r.path, &Terms{}, &got)
		refused <- err
	}()
	if err := <-r.last; !errors.Is(err, unix.EMFILE) {
		t.Errorf("the daemon that runs says %v", err)
	}
	restore()
	s := <-r.come
	s.Refuse(errors.New("not now"))
	if err := <-refused; err == nil || err.Error() != "not now" {
		t.Errorf("the successor hears %v", err)
	}
}
