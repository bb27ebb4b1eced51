package capture

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spawn executes this program again, in a cgroup from its birth on, and gives its pid.
func (c *child) spawn(s step) (string, error) {
	group, err := os.Open(s.Addr)
	if err != nil {
		return "", err
	}
	defer group.Close()
	steps, err := json.Marshal([]step{{Do: "idle"}})
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+string(steps))
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL}
	if s.Count == 0 {
		held, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		file := os.NewFile(uintptr(held), "socket")
		defer file.Close()
		cmd.ExtraFiles = []*os.File{file}
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	c.born = cmd.Process.Pid
	return strconv.Itoa(c.born), nil
}

// split is fork, into a cgroup. Go's runtime does not live on in the child, which
// therefore does nothing but system calls.
func (c *child) split(cgroup string) (string, error) {
	group, err := unix.Open(cgroup, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(group)
	args := cloneArgs{flags: unix.CLONE_INTO_CGROUP, exit: uint64(unix.SIGCHLD), cgroup: uint64(group)}
	pid, errno := forkIdle(&args)
	if errno != 0 {
		return "", errno
	}
	c.born = pid
	return strconv.Itoa(pid), nil
}

// forkIdle makes a child that does nothing until it is ended, or its parent ends.
//
//go:norace
//go:nosplit
func forkIdle(args *cloneArgs) (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	for {
		unix.RawSyscall(unix.SYS_PPOLL, 0, 0, 0)
	}
}

// reap ends what spawn or split has made.
func (c *child) reap() error {
	if err := unix.Kill(c.born, unix.SIGKILL); err != nil {
		return err
	}
	return retry(func() error { _, err := unix.Wait4(c.born, nil, 0, nil); return err })
}
