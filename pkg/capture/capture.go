package capture

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Errors that callers may test for.
var (
	ErrInUse     = errors.New("pinned state is in use by another process")
	ErrLayout    = errors.New("pinned state has a layout this version does not know")
	ErrForeign   = errors.New("pinned state is another user's, or another user may change it")
	ErrNoCgroup2 = errors.New("no cgroup2 mount")
)

// Where the pinned state lies and how our own sockets are marked, unless Config says otherwise.
const (
	DefaultPinDir = "/sys/fs/bpf/outwarden"
	DefaultMark   = 0x10 // one bit that Kubernetes, Calico, Cilium, Istio and Tailscale leave alone
	MaxListeners  = 8    // per address family
)

// Config says what to capture and where to send it.
type Config struct {
	PinDir     string           // directory for pinned state, on a bpffs; DefaultPinDir if empty
	CgroupRoot string           // cgroup2 mount; found in mountinfo if empty
	Ports      []uint16         // TCP destination ports that are redirected
	Listen     []netip.AddrPort // our listeners: loopback addresses, at most MaxListeners a family
	FailOpen   bool             // without a living listener connects pass; otherwise they fail with EPERM
	Mark       uint32           // mark of our own sockets; DefaultMark if zero
	OwnCgroup  uint64           // cgroup id of this process; read from /proc if zero
	Redirect   uint32           // backend nft: the bit of a redirected socket's mark, for pkg/netfilter; zero: rewrite
	AllowQUIC  bool             // let UDP to port 443 pass; otherwise it is refused, so that clients fall back to TCP
	AllowRaw   bool             // let the packets of raw, ICMP and other sockets beside TCP and UDP pass, with an event; otherwise they are refused

	// Held is the lock of PinDir, see [Capture.Lock], where the process that holds
	// it hands it over. Open owns it then, also when it fails.
	Held *os.File

	// types keeps what was read of the kernel's types for the next Open. Tests open
	// often, and reading them takes longest; a daemon opens once and forgets them.
	types *btf.Cache
}

// Capture is the attached kernel side, held by this process alone. Its methods
// may be called from several goroutines.
type Capture struct {
	config Config
	maps   outwardenMaps
	pinned *os.File    // the directory; its flock says that we hold it; Mend changes it under scoping
	links  []link.Link // of the hooks, so that they stay where the pins are wiped
	fence  *ebpf.Program

	home   atomic.Uint64 // network namespace of the first tagged listener
	doubts doubts

	tagging sync.Mutex                         // one listener at a time, as the routes of its namespace may take long to read
	left    map[uint64]map[outwardenRoute]bool // routes by network namespace that an earlier process wrote, and no feed has taken; nil: not listed yet; guarded by tagging

	mu    sync.Mutex
	feeds map[uint64]*feed // by network namespace

	scoping sync.Mutex           // one change of the scope at a time
	scopes  map[uint64]scope     // what this process has said, by cgroup id
	fences  map[uint64]link.Link // the egress program where it stands, by cgroup id

	looking sync.Mutex       // one look for existing connections at a time
	seen    map[uint64]bool  // those that were given, by cookie
	looked  map[uint64]scope // the scope at the last look at all processes

	open   sync.RWMutex // held for reading while Lookup uses the maps
	closed bool

	stop context.CancelFunc // ends the sweeper
	work sync.WaitGroup     // the sweeper and the feeds
}

// Lock is the lock of the pinned state: whoever has a descriptor of it, a
// duplicate too, holds it. It is valid until Close, or a Mend of a directory that
// is gone.
func (c *Capture) Lock() *os.File {
	c.scoping.Lock()
	defer c.scoping.Unlock()
	return c.pinned
}

// Close lets go of the kernel side and leaves it in place: the programs go on
// and, once the listeners are closed, answer by the fail policy. Lookup finds
// nothing afterwards; no other method may be called then, but Close may.
func (c *Capture) Close() error {
	c.open.Lock()
	defer c.open.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.stop()
	c.mu.Lock()
	for _, f := range c.feeds {
		f.close()
	}
	c.mu.Unlock()
	c.work.Wait()
	return errors.Join(c.release(), c.pinned.Close())
}

// release closes what load opened; the pins stay.
func (c *Capture) release() error {
	failed := []error{c.maps.Close(), c.fence.Close()}
	for _, l := range c.links {
		failed = append(failed, l.Close())
	}
	for _, l := range c.fences {
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

// Control is for net.Dialer.Control and net.ListenConfig.Control: it marks a
// socket as our own.
func (c *Capture) Control(network, address string, rc syscall.RawConn) error {
	var failed error
	err := rc.Control(func(fd uintptr) { failed = c.Mark(int(fd)) })
	return errors.Join(err, failed)
}

// Mark marks a socket as our own. The mark alone is not enough to pass the
// hooks; the process must be in the own cgroup too.
func (c *Capture) Mark(socket int) error {
	mark := c.config.Mark
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(socket), unix.SOL_SOCKET, unix.SO_MARK, uintptr(unsafe.Pointer(&mark)), unsafe.Sizeof(mark), 0)
	if errno != 0 {
		return os.NewSyscallError("mark", errno)
	}
	return nil
}
