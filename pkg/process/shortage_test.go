package process

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestRealShortage: who looks without enough descriptors says so, and knows it all
// when there are some again.
func TestRealShortage(t *testing.T) {
	netnstest.RequireRoot(t)
	cmd := self("wait")
	cmd.Path = copyOf(t, "/proc/self/exe")
	s := spawn(t, cmd)
	must(t, os.Remove(cmd.Path)) // which takes most to look at
	same := Options{Boot: time.Now().Add(-sinceBoot())}
	f := connected(t, NewResolver(same), s.pid)
	f.Caller.UID = 1 // who is looked up, as we ourselves are not
	want, err := NewResolver(same).Resolve(f)
	must(t, err)
	short := 0
	for n := range 24 {
		r := NewResolver(same)
		var got *Identity
		withFree(t, n, func() { got, err = r.Resolve(f) })
		if complete := bytes.Equal(got.JSON(), want.JSON()); complete != (err == nil) || err != nil && !errors.Is(err, unix.EMFILE) || got.Gone {
			t.Errorf("%d descriptors: %v, %s", n, err, got.JSON())
		}
		if err != nil {
			short++
		}
		if got, err := r.Resolve(f); err != nil || !bytes.Equal(got.JSON(), want.JSON()) {
			t.Errorf("after %d descriptors: %v, %s; want %s", n, err, got.JSON(), want.JSON())
		}
	}
	if short == 0 || short == 24 {
		t.Errorf("descriptors were short %d times of 24", short)
	}
}

// withFree calls f with n descriptors left to the process.
func withFree(t *testing.T, n int, f func()) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	top, err := unix.FcntlInt(uintptr(0), unix.F_DUPFD_CLOEXEC, 200) // above all that is open
	must(t, err)
	var filled []int
	for {
		fd, err := unix.Dup(0)
		must(t, err)
		filled = append(filled, fd)
		if fd > top {
			break
		}
	}
	few := limit
	few.Cur = uint64(top + 2 + n)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	f()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	unix.Close(top)
	for _, fd := range filled {
		unix.Close(fd)
	}
}
