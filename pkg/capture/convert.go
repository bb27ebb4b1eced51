package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// toAddr gives an address as bpf/flow.h has it: 16 bytes in network order, IPv4 mapped.
func toAddr(a netip.Addr) outwardenAddr {
	b := a.As16()
	var words [4]uint32
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return outwardenAddr{Word: words}
}

// fromAddr is the inverse; a mapped address comes out as IPv4.
func fromAddr(a outwardenAddr) netip.Addr {
	var b [16]byte
	for i, w := range a.Word {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

// toTuple is the key of a connection from remote, accepted at local.
func toTuple(netns uint64, local, remote netip.AddrPort) outwardenTuple {
	return outwardenTuple{
		Netns:           netns,
		Source:          toAddr(remote.Addr()),
		Destination:     toAddr(local.Addr()),
		SourcePort:      remote.Port(),
		DestinationPort: local.Port(),
	}
}

// toRoute is the key of a destination prefix in a network namespace. The trie
// compares bytes, so IPv4 lies 96 bits into the address.
func toRoute(netns uint64, p netip.Prefix) outwardenRoute {
	const netnsBits = 64
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return outwardenRoute{
		Prefix:      uint32(netnsBits + bits),
		Netns:       [2]uint32{uint32(netns >> 32), uint32(netns)},
		Destination: toAddr(p.Addr()),
	}
}

// listener is struct listener; bpf2go loses its name under volatile const.
type listener struct {
	Addr outwardenAddr
	Port uint16
	Zero uint16
}

func listenerArray(addrs []netip.AddrPort) (array [MaxListeners]listener) {
	for i, a := range addrs {
		array[i] = listener{Addr: toAddr(a.Addr()), Port: a.Port()}
	}
	return array
}

// toFlow gives a kernel record as the rest of the program knows it. booted is
// the wall clock at boot; see [bootTime].
func toFlow(f *outwardenFlow, booted time.Time) flow.Flow {
	comm, _, _ := bytes.Cut(f.Comm[:], []byte{0})
	out := flow.Flow{
		Cookie:  f.Cookie,
		Netns:   f.Netns,
		Cgroup:  f.Cgroup,
		At:      booted.Add(time.Duration(f.At)),
		Verdict: flow.Verdict(f.Verdict),
		Reason:  flow.Reason(f.Reason),
		Caller: flow.Caller{
			PID:   f.Pid,
			Start: time.Duration(f.Start),
			UID:   f.Uid,
			GID:   f.Gid,
			Comm:  string(comm),
			Exe:   flow.ExeID{Dev: toDevice(f.ExeDev), Inode: f.ExeInode},
		},
	}
	if f.OriginalPort != 0 || f.Original != (outwardenAddr{}) { // a raw packet has no port
		out.Original = netip.AddrPortFrom(fromAddr(f.Original), f.OriginalPort)
	}
	return out
}

// toDevice turns a device number as the kernel keeps it into the one that stat(2) shows.
func toDevice(dev uint32) uint64 {
	const minorBits = 20
	return unix.Mkdev(dev>>minorBits, dev&(1<<minorBits-1))
}

// sinceBoot is the clock of the kernel side's times.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0 // never: the clock exists since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// bootTime is the wall clock at boot, as it now seems: a clock that is set
// later changes it.
func bootTime() time.Time { return time.Now().Add(-sinceBoot()).Round(0) }
