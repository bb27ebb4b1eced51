package capture

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Listener is a process that listens where redirected connections arrive.
type Listener struct {
	Addr   netip.AddrPort `json:"addr"`
	PID    int            `json:"pid,omitempty"` // zero: no process of this PID namespace
	Exe    string         `json:"exe,omitempty"`
	Tagged bool           `json:"tagged"` // it is ours: the hooks redirect to it
}

// Listeners tells who listens on addresses of ours in the caller's network
// namespace, and whether the hooks pinned in pinDir take the socket for ours.
// Who listens on all addresses is told too. An address without a listener is left
// out. It needs no daemon.
func Listeners(pinDir string, addrs []netip.AddrPort) ([]Listener, error) {
	inodes, err := listening()
	if err != nil {
		return nil, err
	}
	tags, err := ebpf.LoadPinnedMap(filepath.Join(pinDir, "tags"), nil)
	if err == nil {
		defer tags.Close()
	}
	var found []Listener
	for _, addr := range everywhere(addrs) {
		inode, ok := inodes[addr]
		if !ok {
			continue
		}
		l := Listener{Addr: addr}
		for pid, fd := range socketHolders(inode) {
			l.PID = pid
			l.Exe, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			l.Tagged = tags != nil && isTagged(tags, pid, fd)
		}
		found = append(found, l)
	}
	return found, nil
}

// everywhere adds the unspecified addresses, once each: who listens there has the
// port of every address.
func everywhere(addrs []netip.AddrPort) []netip.AddrPort {
	all := slices.Clone(addrs)
	for _, a := range addrs {
		any := netip.IPv4Unspecified()
		if a.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		if a = netip.AddrPortFrom(any, a.Port()); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// listening reads /proc/net: addresses that somebody listens on, and the inodes of the sockets.
func listening() (map[netip.AddrPort]string, error) {
	const listen = "0A"
	found := map[netip.AddrPort]string{}
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) { // no IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listen {
				continue
			}
			if addr, ok := hexAddrPort(f[1]); ok {
				found[addr] = f[9]
			}
		}
	}
	return found, nil
}

// hexAddrPort reads an address as /proc/net writes it: words of the machine in hex, then the port.
func hexAddrPort(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, portErr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(p)), ok
}

// socketHolders are the processes that have a socket, each with one descriptor of it.
func socketHolders(inode string) map[int]int {
	found := map[int]int{}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range links {
		if what, err := os.Readlink(path); err != nil || what != "socket:["+inode+"]" {
			continue
		}
		parts := strings.Split(path, "/")
		pid, _ := strconv.Atoi(parts[2])
		found[pid], _ = strconv.Atoi(parts[4])
	}
	return found
}

// isTagged borrows the socket of another process to ask for its tag.
func isTagged(tags *ebpf.Map, pid, fd int) bool {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return false
	}
	defer unix.Close(socket)
	var tag uint32
	return tags.Lookup(uint32(socket), &tag) == nil
}
