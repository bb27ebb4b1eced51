package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestAttribution: processes that live for less than a millisecond, change
// their user, execute another program while the connection still waits, or come
// one after another under the same pid, and threads: of every connection the
// kernel's record must say who made it. OUTWARDEN_ATTRIBUTION=full takes 10,000.
func TestAttribution(t *testing.T) {
	workers, each := 4, max(scaled(250, 250), 40)
	switch {
	case os.Getenv("OUTWARDEN_ATTRIBUTION") == "full":
		each = 2500
	case testing.Short():
		each = 40
	}
	w := newWorld(t, rewrite, func(c *Config) { c.Listen = c.Listen[:1] })
	l := listenIn(t, w.host, "127.0.0.1:0")
	w.leave()
	w.listeners, w.config.Listen = []*net.TCPListener{l}, addrPorts(l.Addr().String())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge(exe)
	w.serve(l, func(c net.Conn) { j.hear(w.capture, c) })
	w.open()
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			results, err := w.try(w.cgroup, exe, step{Do: "brood", Addr: server4, Count: each})
			if err != nil || results[0].Err != "" {
				t.Errorf("workload: %v, %v", results, err)
			}
		})
	}
	work.Wait()
	eventually(t, "the last connection", func() bool { return j.heard() >= workers*each })
	j.mu.Lock()
	defer j.mu.Unlock()
	t.Logf("%d connections, %d of %d pids told again, %d unknown", len(j.flows), j.again, len(j.last), j.unknown)
	for _, w := range j.wrong[:min(len(j.wrong), 10)] {
		t.Errorf("wrong: %s", w)
	}
	if j.unknown*1000 > workers*each {
		t.Errorf("%d of %d are unknown, want at most one in a thousand", j.unknown, workers*each)
	}
	if j.again < workers*each/8 {
		t.Errorf("a pid was used again %d times: the test does not do what it should", j.again)
	}
}

// testimony is what a process says of itself: pid, uid.
type testimony [2]uint32

// judge compares what processes say of themselves with the kernel's records.
type judge struct {
	dev, inode uint64

	mu             sync.Mutex
	flows          []flow.Flow
	last           map[uint32]flow.Flow // by pid, the newest
	again, unknown int
	wrong          []string
}

func newJudge(exe string) *judge {
	var s unix.Stat_t
	_ = unix.Stat(exe, &s) // were it to fail, every record would be wrong
	return &judge{dev: s.Dev, inode: s.Ino, last: map[uint32]flow.Flow{}}
}

func (j *judge) hear(c *Capture, conn net.Conn) {
	f, ok := c.Lookup(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr()))
	var raw [8]byte
	_, err := io.ReadFull(conn, raw[:])
	j.mu.Lock()
	defer j.mu.Unlock()
	if !ok || err != nil {
		j.unknown++
		return
	}
	j.flows = append(j.flows, f)
	said := testimony{binary.NativeEndian.Uint32(raw[:]), binary.NativeEndian.Uint32(raw[4:])}
	if f.Caller.PID != said[0] || f.Caller.UID != said[1] || f.Caller.Exe.Dev != j.dev || f.Caller.Exe.Inode != j.inode {
		j.wrong = append(j.wrong, fmt.Sprintf("%+v says of itself pid and uid %v", f, said))
	}
	j.sameOrLater(f)
}

// sameOrLater: who comes under a pid is the process from before, or has started
// after that one's last connect.
func (j *judge) sameOrLater(f flow.Flow) {
	before, known := j.last[f.Caller.PID]
	j.last[f.Caller.PID] = f
	if !known || before.Caller.Start == f.Caller.Start {
		return
	}
	j.again++
	early, late := before, f
	if early.At.After(late.At) { // they were heard in the other order
		early, late = late, early
	}
	if sinceBootAt(early.At) > late.Caller.Start+time.Millisecond {
		j.wrong = append(j.wrong, fmt.Sprintf("%+v started before %+v was gone", late, early))
	}
}

func (j *judge) heard() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.flows) + j.unknown
}

func sinceBootAt(t time.Time) time.Duration { return t.Sub(bootTime()) }

// brood makes processes, one after another, that connect, say who they are and
// end: plain ones, ones of another user, ones that execute another program, and
// ones under the pid of the one before. Every fifth time a thread of ours does.
func brood(s step, c *child) error {
	runtime.LockOSThread()
	c.fd = -1
	to := &unix.RawSockaddrInet4{Family: unix.AF_INET}
	sa, ok := c.sockaddr(s.Addr).(*unix.SockaddrInet4)
	if !ok {
		return errors.New("want an IPv4 address")
	}
	to.Addr = sa.Addr
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], uint16(sa.Port))
	previous := 0
	for i := range s.Count {
		var err error
		if i%5 == 4 {
			err = fromThread(to)
		} else {
			previous, err = bear(to, i%5, previous)
		}
		if err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return nil
}

func fromThread(to *unix.RawSockaddrInet4) error {
	done := make(chan unix.Errno)
	go func() { done <- testify(to, &testimony{}, 0, nil, nil) }()
	if errno := <-done; errno != 0 {
		return errno
	}
	return nil
}

const (
	ordinary = iota
	otherUser
	executes
	samePID // as the process before
)

// bear makes one process and waits until it has ended.
func bear(to *unix.RawSockaddrInet4, kind, previous int) (pid int, err error) {
	args := cloneArgs{exit: uint64(unix.SIGCHLD)}
	want := int32(previous)
	if kind == samePID && previous != 0 {
		args.setTID, args.setTIDs = uint64(uintptr(unsafe.Pointer(&want))), 1
	}
	uid := uintptr(0)
	if kind == otherUser {
		uid = nobodyID
	}
	var argv [2]*byte
	if kind == executes {
		if argv[0], err = unix.BytePtrFromString("/bin/true"); err != nil {
			return 0, err
		}
	}
	pid, errno := fork(&args, to, &testimony{}, uid, argv[0], &argv)
	runtime.KeepAlive(&want)
	if errno != 0 {
		return 0, fmt.Errorf("clone3: %w", errno)
	}
	var status unix.WaitStatus
	err = retry(func() error { _, err := unix.Wait4(pid, &status, 0, nil); return err })
	if err == nil && status.ExitStatus() != 0 {
		err = fmt.Errorf("child: %w", unix.Errno(status.ExitStatus()))
	}
	return pid, err
}

// cloneArgs is struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exit, stack, stackSize, tls, setTID, setTIDs, cgroup uint64
}

// fork makes a child that testifies and ends. Nothing of the runtime may be used
// in it: the other threads are not there.
//
//go:norace
//go:nosplit
func fork(args *cloneArgs, to *unix.RawSockaddrInet4, says *testimony, uid uintptr, exe *byte, argv *[2]*byte) (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	errno = testify(to, says, uid, exe, argv)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

// testify connects and says who it is.
//
//go:norace
//go:nosplit
func testify(to *unix.RawSockaddrInet4, says *testimony, uid uintptr, exe *byte, argv *[2]*byte) unix.Errno {
	if uid != 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			return errno
		}
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to)); errno != 0 {
		return errno
	}
	pid, _, _ := unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	says[0], says[1] = uint32(pid), uint32(uid)
	_, _, errno = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(says)), unsafe.Sizeof(*says))
	if errno == 0 && exe != nil {
		_, _, errno = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(exe)), uintptr(unsafe.Pointer(argv)), 0)
	}
	unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	return errno
}
