package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Existing is a connection of a process in scope that the hooks never saw,
// though it leads where they capture: it was there before them, or its process
// came into scope with it.
type Existing struct {
	PID      uint32 // a process that holds it
	Cookie   uint64
	Protocol uint8 // IPPROTO_TCP, or that of a connected UDP socket to port 443
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Reset    error // why it could not be reset; nil if it was, or nobody asked
}

// Existing looks for such connections of all processes in scope, and resets
// them if asked. Each is given once, however often one asks. A connection of
// MPTCP cannot be found: the kernel does not say who holds its subflows.
func (c *Capture) Existing(reset bool) ([]Existing, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	c.looking.Lock()
	defer c.looking.Unlock()
	before := c.seen
	c.seen = map[uint64]bool{} // what is gone need not be remembered
	scopes := c.scopesNow()
	found, err := c.existing(pids, reset, before)
	c.looked = scopes
	return found, err
}

// ExistingOf is Existing for one process, for EventJoin.
func (c *Capture) ExistingOf(pid uint32, reset bool) ([]Existing, error) {
	c.looking.Lock()
	defer c.looking.Unlock()
	return c.existing([]uint32{pid}, reset, c.seen)
}

// existing is both; before are those that were given already. c.looking is held.
func (c *Capture) existing(pids []uint32, reset bool, before map[uint64]bool) (found []Existing, err error) {
	held := c.heldBy(pids)
	if len(held.sockets) == 0 {
		return nil, nil
	}
	failed := held.namespaces.each(func() error {
		more, err := c.existingHere(held, reset, before)
		found = append(found, more...)
		return err
	})
	return found, errors.Join(failed...)
}

// existingHere does it in the calling thread's network namespace.
func (c *Capture) existingHere(held *holders, reset bool, before map[uint64]bool) (found []Existing, err error) {
	sockets, err := listConnected(unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE)
	if err != nil {
		return nil, fmt.Errorf("list sockets: %v", err)
	}
	for i := range sockets {
		s := &sockets[i]
		by, ok := held.sockets[s.inode]
		if !ok || !c.wouldCapture(s) || c.judged(s, by) || by.own && s.mark&c.config.Mark == c.config.Mark {
			continue
		}
		known := before[s.cookie()]
		c.seen[s.cookie()] = true
		if known {
			continue
		}
		e := Existing{PID: by.pid, Cookie: s.cookie(), Protocol: s.protocol, Local: s.local, Remote: s.remote}
		if reset {
			e.Reset = s.destroy()
		}
		found = append(found, e)
	}
	return found, nil
}

// wouldCapture reports whether the hooks would not have let such a connection pass.
func (c *Capture) wouldCapture(s *diagSocket) bool {
	const quic = 443
	if s.remote.Addr().IsLoopback() || s.remote.Addr().IsUnspecified() {
		return false
	}
	if s.protocol != unix.IPPROTO_TCP && (c.config.AllowQUIC || s.remote.Port() != quic) {
		return false
	}
	var one uint8
	return c.maps.Ports.Lookup(s.remote.Port(), &one) == nil
}

// judged reports whether the hooks see to a socket, though it has the peer that it
// was connected to. They go by the cgroup that a UDP socket was made in: where that
// was in scope at the last look at all, it is a new one that leads nowhere, as what
// it sends is refused and recorded.
func (c *Capture) judged(s *diagSocket, by holder) bool {
	return s.protocol != unix.IPPROTO_TCP && s.cgroup != 0 && s.cgroup == by.cgroup && c.wasInScope(by.dir)
}

// wasInScope reports whether a cgroup was in scope at the last look at all
// processes. c.looking is held.
func (c *Capture) wasInScope(dir string) bool {
	for {
		if id, err := cgroupID(dir); err == nil {
			if s, ok := c.looked[id]; ok {
				return s.says == scopeInclude
			}
		}
		if dir == filepath.Dir(dir) {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// holders says which processes in scope hold which sockets, by inode, and in
// which network namespaces to look for them.
type holders struct {
	sockets    map[uint32]holder
	namespaces namespaces
}

type holder struct {
	pid    uint32
	dir    string // of its cgroup
	cgroup uint64 // the same; zero if it is gone
	own    bool   // in our own cgroup, so that the mark tells what is ours
}

// heldBy looks through the descriptors of those processes that are in scope.
func (c *Capture) heldBy(pids []uint32) *holders {
	said := c.said()
	held := &holders{sockets: map[uint32]holder{}, namespaces: namespaces{}}
	for _, pid := range pids {
		proc := procDir(pid)
		dir, ok := c.cgroupOf(proc)
		if !ok || nearest(said, dir) != scopeInclude {
			continue
		}
		id, _ := cgroupID(dir)
		held.note(threads(proc), holder{pid, dir, id, id != 0 && id == c.config.OwnCgroup})
	}
	return held
}

// processes lists all of this machine.
func processes() (pids []uint32, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if pid, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

func procDir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

// scopesNow is what was said of which cgroup. It is not written to any more.
func (c *Capture) scopesNow() map[uint64]scope {
	c.scoping.Lock()
	defer c.scoping.Unlock()
	return c.scopes
}

// said is what the scope says, by directory.
func (c *Capture) said() map[string]uint32 {
	said := map[string]uint32{}
	for _, s := range c.scopesNow() {
		said[s.dir] = s.says
	}
	return said
}

// nearest is what the nearest ancestor of a cgroup says of which anything is said.
func nearest(said map[string]uint32, dir string) uint32 {
	for {
		if says, ok := said[dir]; ok {
			return says
		}
		if dir == filepath.Dir(dir) {
			return 0
		}
		dir = filepath.Dir(dir)
	}
}

// cgroupOf is the directory of a process's cgroup.
func (c *Capture) cgroupOf(proc string) (string, bool) {
	b, err := os.ReadFile(living(proc) + "/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return c.cgroupDir(strings.TrimSuffix(path, "\n")), true
		}
	}
	return "", false
}

// note takes down the sockets of a process, and where to look for them.
func (h *holders) note(threads []string, by holder) {
	any := false
	for _, t := range fileTables(threads) {
		any = h.noteTable(t, by) || any
	}
	if any {
		h.namespaces.note(threads)
	}
}

// noteTable takes down those of one table of descriptors and reports whether it has any.
func (h *holders) noteTable(task string, by holder) (any bool) {
	entries, err := os.ReadDir(task + "/fd")
	if err != nil {
		return false // it has left
	}
	for _, e := range entries {
		link, err := os.Readlink(task + "/fd/" + e.Name())
		if err != nil {
			continue
		}
		digits, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
		if err == nil {
			h.sockets[uint32(inode)], any = by, true
		}
	}
	return any
}
