package capture

import (
	"errors"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// Lookup gives the flow behind a connection accepted in the network namespace
// of the first tagged listener, once: the record is gone afterwards. local and
// remote are the ends as the accepted socket has them. No record means that
// somebody dialled the listener directly, that the record was lost, or that
// two sockets claim the same tuple; the connection must be reset.
func (c *Capture) Lookup(local, remote netip.AddrPort) (flow.Flow, bool) {
	return c.LookupIn(c.Netns(), local, remote)
}

// LookupIn is Lookup for a connection accepted in the network namespace with
// this cookie; see [Capture.TagListener].
func (c *Capture) LookupIn(netns uint64, local, remote netip.AddrPort) (flow.Flow, bool) {
	c.open.RLock()
	defer c.open.RUnlock()
	if c.closed {
		return flow.Flow{}, false
	}
	key := toTuple(netns, local, remote)
	record, err := c.take(&key)
	if !c.doubts.settle(&key, &record, err == nil) {
		return flow.Flow{}, false
	}
	f := toFlow(&record, bootTime())
	f.Away = netns != c.home.Load()
	f.Source = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	return f, true
}

// take reads and deletes a record. In one step from 5.14 on; before, a record
// that comes in between is found contested by the hook and not handed out.
func (c *Capture) take(key *outwardenTuple) (record outwardenFlow, err error) {
	switch errno := takeOut(c.maps.Flows.FD(), key, &record); errno {
	case 0:
		return record, nil
	case unix.ENOENT:
		return record, ebpf.ErrKeyNotExist
	}
	err = c.maps.Flows.LookupAndDelete(key, &record)
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return record, err
	}
	if err = c.maps.Flows.Lookup(key, &record); err != nil {
		return record, err
	}
	return record, c.maps.Flows.Delete(key)
}

// takeOut is LookupAndDelete without telling the scheduler: it never waits, and
// comes once for each connection.
func takeOut(flows int, key *outwardenTuple, record *outwardenFlow) unix.Errno {
	attr := struct { // of bpf(2), as BPF_MAP_*_ELEM has it
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(flows), key: unsafe.Pointer(key), value: unsafe.Pointer(record)}
	_, _, errno := unix.RawSyscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	return errno
}

// Netns is the cookie of the network namespace of the first tagged listener; zero before that.
func (c *Capture) Netns() uint64 { return c.home.Load() }

// Reaches reports whether a network namespace of our listeners has a way of its own
// to an address, as its kernel says now. Marks and devices of sockets do not count.
func (c *Capture) Reaches(netns uint64, to netip.Addr) bool {
	c.open.RLock()
	defer c.open.RUnlock()
	if c.closed {
		return false
	}
	f := c.feedOf(netns)
	return f != nil && f.reaches(to)
}
