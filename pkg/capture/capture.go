package capture

import (
	"errors"
	"net/netip"
)

// Errors that callers may test for.
var (
	ErrInUse       = errors.New("pinned state is in use by another process")
	ErrLayout      = errors.New("pinned state has a layout this version does not know")
	ErrNoCgroup2   = errors.New("no cgroup2 mount")
	ErrNotAttached = errors.New("nothing is attached here")
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
	AllowQUIC  bool             // let UDP to port 443 pass; otherwise it is refused, so that clients fall back to TCP
}
