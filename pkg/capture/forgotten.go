package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrForgotten is that every socket is laid to the root cgroup, so the egress
// hook of a cgroup in scope, which refuses raw sockets, does not see its packets.
// What stands at the root, and so all that redirects, works as before.
var ErrForgotten = errors.New("the kernel has ceased to tell which cgroup a socket is of")

// errForgetful is what a kernel lacks that can come to ErrForgotten.
var errForgetful = errors.New("a socket has room for one of them and its cgroup")

// probeSocketCgroups asks whether this kernel would forget the cgroups of sockets,
// for good, as soon as anybody uses net_cls or net_prio of cgroup v1. Trying it
// would do so; the type of what a socket knows tells. The version does not: Linux
// 5.15 was mended, and so is Debian's 5.10.
func probeSocketCgroups() error {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	var knows *btf.Struct
	if err := types.TypeByName("sock_cgroup_data", &knows); err != nil {
		return err
	}
	if slices.ContainsFunc(knows.Members, func(m btf.Member) bool { return m.Name == "cgroup" }) {
		return nil
	}
	return errForgetful
}

// SocketCgroups asks the kernel for the cgroup of a new socket of this process:
// ErrForgotten where it has ceased to know, another error where that cannot be
// told, as in a process that is itself in the root cgroup.
func SocketCgroups() error {
	root, err := cgroupMount()
	if err != nil {
		return err
	}
	own, err := ownCgroup(root)
	if err != nil {
		return err
	}
	if own == rootCgroup {
		return errors.New("this process is in the root cgroup, like every socket whose cgroup is forgotten")
	}
	socket, err := oneSocket()
	if err != nil {
		return err
	}
	switch socket.cgroup {
	case 0:
		return errors.New("sock_diag does not tell the cgroups of sockets")
	case rootCgroup:
		return ErrForgotten
	}
	return nil
}

// oneSocket makes a socket, and gives what sock_diag says of it. Connected to
// loopback it sends nothing.
func oneSocket() (*diagSocket, error) {
	const discard = 9
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := errors.Join(unix.Connect(fd, &unix.SockaddrInet4{Port: discard, Addr: [4]byte{127, 0, 0, 1}}), unix.Fstat(fd, &s)); err != nil {
		return nil, err
	}
	sockets, err := listConnected(unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("list sockets: %v", err)
	}
	for i := range sockets {
		if uint64(sockets[i].inode) == s.Ino {
			return &sockets[i], nil
		}
	}
	return nil, errors.New("sock_diag does not list a socket of ours")
}
