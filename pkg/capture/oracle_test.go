package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// oracle sees every frame that comes to the internet: what is not there has not
// left the host, whatever the workload was told.
type oracle struct {
	t       testing.TB
	host    *netnstest.NS
	fd      int
	markers int
	begun   map[uint16]bool // source ports of TCP connections that were told of before
}

func newOracle(w *world) *oracle {
	w.t.Helper()
	o := &oracle{t: w.t, host: w.host, begun: map[uint16]bool{}}
	var err error
	w.internet.Do(func() {
		const all = 0x0300 // ETH_P_ALL in network order
		o.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(o.fd) })
	return o
}

// seen gives the IP packets that came since it was last asked, in hex, but not
// those of a TCP connection whose beginning was given before: its end may come
// late. A datagram of the test's own comes after all that was sent before.
func (o *oracle) seen() (packets []string) {
	o.t.Helper()
	marker, begun := o.mark(), maps.Clone(o.begun)
	b := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(o.fd, b, 0)
		if err != nil {
			o.t.Fatal(err)
		}
		link := from.(*unix.SockaddrLinklayer)
		switch packet := b[:n]; {
		case link.Pkttype == unix.PACKET_OUTGOING, !isOfWorkload(packet):
		case bytes.HasSuffix(packet, marker):
			return packets
		case begun[o.begins(packet)]:
		default:
			packets = append(packets, hex.EncodeToString(packet[:min(n, 80)]))
		}
	}
}

// mark sends a datagram that tells the packets before it from those after it.
func (o *oracle) mark() []byte {
	o.t.Helper()
	o.markers++
	marker := []byte{'m', 'a', 'r', 'k', 'e', 'r', byte(o.markers >> 8), byte(o.markers)}
	var err error
	o.host.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		err = unix.Sendto(fd, marker, 0, &unix.SockaddrInet4{Port: 9, Addr: netip.MustParseAddr("10.9.0.2").As4()})
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return marker
}

// begins is the source port of a TCP packet, which is noted if it begins a
// connection; 0 for all others.
func (o *oracle) begins(packet []byte) uint16 {
	const routing, synchronize = 43, 2
	next, at := packet[9], int(packet[0]&0xf)*4
	if packet[0]>>4 == 6 {
		next, at = packet[6], 40
	}
	if next == routing && packet[0]>>4 == 6 {
		next, at = packet[at], at+8*(1+int(packet[at+1]))
	}
	if next != unix.IPPROTO_TCP || len(packet) < at+20 {
		return 0
	}
	port := binary.BigEndian.Uint16(packet[at:])
	if packet[at+13]&synchronize != 0 {
		o.begun[port] = true
		return 0
	}
	return port
}

// isOfWorkload leaves out what is not IP, and what the kernel sends of its own
// accord: neighbour discovery and the groups that it is in.
func isOfWorkload(packet []byte) bool {
	const hopByHop, first, last = 0, 130, 143 // ICMPv6 types
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return packet[9] != unix.IPPROTO_IGMP
	case len(packet) > 40 && packet[0]>>4 == 6:
		next, kind := packet[6], packet[40]
		return next != hopByHop && !(next == unix.IPPROTO_ICMPV6 && kind >= first && kind <= last)
	}
	return false
}
