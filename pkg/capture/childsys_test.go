package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectRaw is connect with an address that unix.Connect has no type for.
func connectRaw(fd int, sa *unix.RawSockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa))
	if errno != 0 {
		return errno
	}
	return nil
}

// dropCapabilities gives up all capabilities of the calling thread, so the
// caller must stay on it; the main goroutine of the child does.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// become makes the process nobody's and leaves its thread these capabilities alone.
func become(capabilities int) error {
	const nobody = 65534
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	// The system calls themselves: unix.Setresuid would speak for all threads,
	// of which only this one does anything, and only this one keeps capabilities.
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
			return errno
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	mask := uint32(capabilities)
	some := [2]unix.CapUserData{{Effective: mask, Permitted: mask}}
	return unix.Capset(&header, &some[0])
}

// uringConnect connects by io_uring; with Count by one of its own threads.
func (c *child) uringConnect(s step) error {
	r, err := newURing()
	if err != nil {
		return err
	}
	defer r.close()
	addr := rawSockaddr(c.sockaddr(s.Addr))
	return r.connect(c.fd, addr, s.Count != 0)
}

// rawSockaddr is an address as the kernel reads it.
func rawSockaddr(sa unix.Sockaddr) []byte {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, uint16(sa.Port))
		return append(append(b, sa.Addr[:]...), make([]byte, 8)...)
	case *unix.SockaddrInet6:
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
		b = binary.BigEndian.AppendUint16(b, uint16(sa.Port))
		b = append(append(b, make([]byte, 4)...), sa.Addr[:]...)
		return append(b, make([]byte, 4)...)
	}
	return nil
}

// uring is an io_uring for one request at a time; linux/io_uring.h has the layout.
type uring struct {
	fd                  int
	params              uringParams
	submission, entries []byte
	completion          []byte
}

type uringParams struct {
	SubmissionEntries, CompletionEntries, Flags, CPU, Idle, Features, WorkQueue uint32
	_                                                                           [3]uint32
	Submission, Completion                                                      [10]uint32 // offsets
}

// Where in Submission and Completion an offset stands.
const (
	submissionTail, submissionArray = 1, 6
	completionTail, completionRing  = 1, 5
)

func newURing() (*uring, error) {
	r := &uring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	const page = 4096 // one entry needs no more
	var failed [3]error
	for i, m := range []struct {
		to *[]byte
		at int64
	}{{&r.submission, 0}, {&r.completion, 0x8000000}, {&r.entries, 0x10000000}} {
		*m.to, failed[i] = unix.Mmap(r.fd, m.at, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	return r, errors.Join(failed[:]...)
}

func (r *uring) close() { unix.Close(r.fd) }

func (r *uring) connect(socket int, addr []byte, async bool) error {
	const connect, onThread, wait = 16, 1 << 4, 1
	e := r.entries[:64]
	e[0] = connect
	if async {
		e[1] = onThread
	}
	binary.NativeEndian.PutUint32(e[4:], uint32(socket))
	binary.NativeEndian.PutUint64(e[8:], uint64(len(addr)))
	binary.NativeEndian.PutUint64(e[16:], uint64(uintptr(unsafe.Pointer(&addr[0]))))
	binary.NativeEndian.PutUint32(r.submission[r.params.Submission[submissionArray]:], 0)
	binary.NativeEndian.PutUint32(r.submission[r.params.Submission[submissionTail]:], 1) // the system call orders it
	for toSubmit := uintptr(1); binary.NativeEndian.Uint32(r.completion[r.params.Completion[completionTail]:]) == 0; {
		n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), toSubmit, 1, wait, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return errno
		}
		if errno == 0 { // a signal may have ended the wait all the same
			toSubmit -= n
		}
	}
	runtime.KeepAlive(addr)
	completed := r.completion[r.params.Completion[completionRing]:]
	if code := int32(binary.NativeEndian.Uint32(completed[8:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
