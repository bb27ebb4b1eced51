package flow

import (
	"hash/fnv"
	"net/netip"
	"strconv"
	"time"
)

// Flow is one captured connection. The kernel fills it in the connect hook,
// where the caller is the current task, so nothing in it is looked up later.
type Flow struct {
	Cookie   uint64         // kernel cookie of the workload's socket
	Netns    uint64         // cookie of the network namespace of that socket
	Cgroup   uint64         // cgroup v2 id of the caller
	Source   netip.AddrPort // the workload's end of the redirected connection
	Original netip.AddrPort // original destination: where the workload meant to go
	Caller   Caller         // who called connect()
	At       time.Time      // when connect() was called
	Verdict  Verdict        // what the kernel did
	Guest    bool           // forwarded through this host: no process of its kernel called connect(), and Source is all that is known
	Away     bool           // the workload is in another network namespace than we, whose ways out are not ours
	Reason   Reason         // why, if the verdict is deny or pass
}

// Caller is the process behind a connect(), as the hook saw it.
type Caller struct {
	PID      uint32        // thread group id, in the initial pid namespace
	Start    time.Duration // start of the thread group leader, since boot
	UID, GID uint32        // effective ids in the initial user namespace
	Comm     string        // at most 15 bytes; never match on it
	Exe      ExeID         // zero if the kernel could not tell
}

// ExeID names an executable file by device and inode, as stat(2) shows them.
type ExeID struct {
	Dev   uint64
	Inode uint64
}

// IsZero reports whether the executable is unknown.
func (e ExeID) IsZero() bool { return e == ExeID{} }

// GuestAddr is the address of the guest behind the flow; the zero Addr where a
// process of this host is.
func (f *Flow) GuestAddr() netip.Addr {
	if !f.Guest {
		return netip.Addr{}
	}
	return f.Source.Addr()
}

// Workload is a number for who shares what is limited for each workload: its
// cgroup, or for a guest its address. Cgroup ids never come near guests' numbers.
func (f *Flow) Workload() uint64 {
	if !f.Guest {
		return f.Cgroup
	}
	const guests = 1 << 63
	h := fnv.New64a()
	b := f.Source.Addr().As16()
	h.Write(b[:])
	return h.Sum64() | guests
}

// ID is a short name for the flow, unique on this host and sortable by time.
func (f Flow) ID() string {
	const cookieBits = 20
	n := uint64(f.At.UnixMilli())<<cookieBits | f.Cookie&(1<<cookieBits-1)
	return strconv.FormatUint(n, 36)
}

// Verdict is what the kernel did with a connect().
type Verdict uint8

// The kernel's verdicts; bpf/flow.h has the same names and numbers.
const (
	VerdictPass     Verdict = iota // connect() went where the workload meant to go
	VerdictRedirect                // connect() reaches our listener
	VerdictDeny                    // connect() failed with EPERM
)

func (v Verdict) String() string {
	switch v {
	case VerdictPass:
		return "pass"
	case VerdictRedirect:
		return "redirect"
	case VerdictDeny:
		return "deny"
	}
	return "verdict(" + strconv.Itoa(int(v)) + ")"
}
