package capture

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of linux/inet_diag.h and linux/sock_diag.h.
const (
	diagByFamily  = 20
	diagDestroy   = 21
	diagMark      = 15 // attributes
	diagCgroup    = 21
	diagIDSize    = 48
	diagReplySize = 72
)

// connected are the states that a socket with a peer can be in, TCP's and UDP's.
const connected = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11

// diagID names a socket to the kernel, as the kernel has named it: addresses,
// ports, device and cookie.
type diagID [diagIDSize]byte

// diagSocket is one answer of sock_diag.
type diagSocket struct {
	family, protocol uint8
	id               diagID
	local, remote    netip.AddrPort
	inode            uint32
	mark             uint32
	cgroup           uint64 // 0: not told
}

// diagRequest is struct inet_diag_req_v2.
type diagRequest struct {
	family, protocol uint8
	states           uint32
	id               diagID
}

func (r *diagRequest) Len() int { return 8 + diagIDSize }

func (r *diagRequest) Serialize() []byte {
	b := []byte{r.family, r.protocol, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, r.states)
	return append(b, r.id[:]...)
}

// listConnected lists the connected sockets of the calling thread's network
// namespace.
func listConnected(protocols ...uint8) ([]diagSocket, error) {
	return listSockets(connected, protocols...)
}

// listSockets lists those in some states, a bit each. A protocol that this kernel
// cannot list is left out.
func listSockets(states uint32, protocols ...uint8) (found []diagSocket, err error) {
	for _, protocol := range protocols {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			r := nl.NewNetlinkRequest(diagByFamily, unix.NLM_F_DUMP)
			r.AddData(&diagRequest{family: family, protocol: protocol, states: states})
			messages, err := r.Execute(unix.NETLINK_INET_DIAG, diagByFamily)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, m := range messages {
				if s, ok := parseDiag(m, protocol); ok {
					found = append(found, s)
				}
			}
		}
	}
	return found, nil
}

// parseDiag reads struct inet_diag_msg and the attributes after it.
func parseDiag(m []byte, protocol uint8) (s diagSocket, ok bool) {
	if len(m) < diagReplySize {
		return s, false
	}
	s.family, s.protocol = m[0], protocol
	copy(s.id[:], m[4:])
	s.local = diagAddr(s.family, s.id[0:], s.id[4:])
	s.remote = diagAddr(s.family, s.id[2:], s.id[20:])
	s.inode = binary.NativeEndian.Uint32(m[68:])
	attributes, err := nl.ParseRouteAttr(m[diagReplySize:])
	if err != nil {
		return s, false
	}
	for _, a := range attributes {
		switch {
		case a.Attr.Type == diagMark && len(a.Value) == 4:
			s.mark = binary.NativeEndian.Uint32(a.Value)
		case a.Attr.Type == diagCgroup && len(a.Value) == 8:
			s.cgroup = binary.NativeEndian.Uint64(a.Value)
		}
	}
	return s, true
}

func diagAddr(family uint8, port, addr []byte) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(addr))
	if family == unix.AF_INET6 {
		a = netip.AddrFrom16([16]byte(addr)).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// cookie is the kernel's cookie of the socket.
func (s *diagSocket) cookie() uint64 {
	low, high := binary.NativeEndian.Uint32(s.id[40:]), binary.NativeEndian.Uint32(s.id[44:])
	return uint64(high)<<32 | uint64(low)
}

// destroy ends a socket of the calling thread's network namespace: its owner
// finds the connection aborted, and a TCP peer is sent a reset.
func (s *diagSocket) destroy() error {
	r := nl.NewNetlinkRequest(diagDestroy, unix.NLM_F_ACK)
	r.AddData(&diagRequest{family: s.family, protocol: s.protocol, states: connected, id: s.id})
	_, err := r.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}
