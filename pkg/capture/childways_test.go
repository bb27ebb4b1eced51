package capture

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socketVariable tells a child which descriptor is its socket.
const socketVariable = "OUTWARDEN_TEST_SOCKET"

// inheritedSocket is the socket that a workload has from the one before it; -1 for none.
func inheritedSocket() int {
	fd, err := strconv.Atoi(os.Getenv(socketVariable))
	if err != nil {
		return -1
	}
	return fd
}

// inherit is the environment of a successor that gets the socket as descriptor 3.
func (c *child) inherit() []string {
	steps, err := json.Marshal(c.rest)
	if err != nil {
		panic(err)
	}
	const inherited = 3
	if c.fd != inherited {
		if err := unix.Dup2(c.fd, inherited); err != nil {
			panic(err)
		}
	} else if _, err := unix.FcntlInt(inherited, unix.F_SETFD, 0); err != nil {
		panic(err)
	}
	env := []string{childVariable + "=" + string(steps), socketVariable + "=" + strconv.Itoa(inherited)}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, childVariable+"=") {
			env = append(env, v)
		}
	}
	return env
}

// receive takes a socket out of the Unix socket that is the standard input.
func receive() (int, error) {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(0, make([]byte, 1), space, 0)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%d messages: %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// burden attaches the longest filter that the kernel takes, to a few bytes. Loads of
// packet bytes become several instructions of the kernel's own, others one.
func (c *child) burden() error {
	filter := slices.Repeat([]unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_IMM}}, unix.BPF_MAXINSNS)
	filter[len(filter)-1] = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16}
	attach := func(n, loads int) error {
		some := slices.Clone(filter[len(filter)-n:])
		for i := range loads {
			some[i].Code = unix.BPF_LD | unix.BPF_ABS | unix.BPF_W
		}
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // which counts until the next one stands
		return unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(n), Filter: &some[0]})
	}
	most := func(upTo int, attach func(int) error) int {
		return sort.Search(upTo, func(n int) bool { return attach(n+1) != nil })
	}
	n := most(len(filter), func(n int) error { return attach(n, 0) })
	loads := most(n-1, func(loads int) error { return attach(n, loads) })
	return attach(n, loads)
}

// detour has the packets of an IPv6 socket go by another address first: a
// segment routing header, which needs no privilege.
func (c *child) detour(by string) error {
	const segmentRouting = 4
	hop := netip.MustParseAddr(by).As16()
	header := []byte{0, 4, segmentRouting, 1, 1, 0, 0, 0}           // one segment left, two in all
	header = append(append(header, make([]byte, 16)...), hop[:]...) // the kernel writes the destination into the first
	return unix.SetsockoptString(c.fd, unix.IPPROTO_IPV6, unix.IPV6_RTHDR, string(header))
}

// payload is what a datagram says: something that its protocol would let pass.
func (c *child) payload(s step) []byte {
	kind, _ := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	protocol, _ := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	switch {
	case protocol == unix.IPPROTO_ICMP:
		return []byte{8, 0, 0, 0, 0, 0, 0, 1}
	case protocol == unix.IPPROTO_ICMPV6:
		return []byte{128, 0, 0, 0, 0, 0, 0, 1}
	case kind == unix.SOCK_RAW && protocol == unix.IPPROTO_RAW:
		return syn(netip.MustParseAddrPort(s.Addr))
	}
	return []byte("x")
}

// syn is an IPv4 packet with a TCP SYN in it; the kernel fills in the checksum
// of the header, and nobody looks at the other.
func syn(to netip.AddrPort) []byte {
	p := make([]byte, 40)
	p[0], p[3], p[8], p[9] = 0x45, byte(len(p)), 64, unix.IPPROTO_TCP
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], 40999)
	binary.BigEndian.PutUint16(p[22:], to.Port())
	p[32], p[33] = 0x50, 0x02
	return p
}

// frame sends an IPv4 packet past IP itself, on the device that the step names.
func frame(s step) error {
	device, packet, _ := strings.Cut(s.Addr, " ")
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: link.Index, Protocol: 8, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}} // ETH_P_IP in network order
	return unix.Sendto(fd, syn(netip.MustParseAddrPort(packet)), 0, to)
}
