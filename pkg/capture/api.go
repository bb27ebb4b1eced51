package capture

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/outwarden/outwarden/pkg/flow"
)

var errUnwritten = errors.New("capture: not written yet")

// Capture is the attached kernel side.
type Capture struct{}

// Open loads the programs, or takes over what an earlier process left pinned.
func Open(c Config) (*Capture, error) { return nil, errUnwritten }

// TagListener makes a listener ours in the eyes of the hooks.
func (c *Capture) TagListener(l *net.TCPListener) error { return errUnwritten }

// SetScope makes exactly these cgroup subtrees captured and exempt; the nearest ancestor decides.
func (c *Capture) SetScope(include, exclude []string) error { return errUnwritten }

// AddScope captures the processes of a cgroup and of those below it.
func (c *Capture) AddScope(cgroupPath string) error { return errUnwritten }

// Exclude exempts the processes of a cgroup and of those below it.
func (c *Capture) Exclude(cgroupPath string) error { return errUnwritten }

// RemoveScope forgets what AddScope or Exclude said about a cgroup.
func (c *Capture) RemoveScope(cgroupPath string) error { return errUnwritten }

// SetPorts makes exactly these TCP destination ports redirected.
func (c *Capture) SetPorts(ports []uint16) error { return errUnwritten }

// Lookup gives the flow behind an accepted connection, once. local and remote are the two ends as the accepted socket sees them.
func (c *Capture) Lookup(local, remote netip.AddrPort) (flow.Flow, bool) { return flow.Flow{}, false }

// LookupIn is Lookup for a connection accepted in the network namespace with this cookie.
func (c *Capture) LookupIn(netns uint64, local, remote netip.AddrPort) (flow.Flow, bool) {
	return flow.Flow{}, false
}

// Counters gives the kernel side's counters by name, summed over the processors.
func (c *Capture) Counters() (map[string]uint64, error) { return nil, errUnwritten }

// Control is for net.Dialer.Control: it marks a socket as our own.
func (c *Capture) Control(network, address string, rc syscall.RawConn) error { return errUnwritten }

// Close lets go of the kernel side and leaves it in place.
func (c *Capture) Close() error { return nil }

// Detach removes all that Open made and returns the names of what it removed. It needs no daemon.
func Detach(pinDir string) ([]string, error) { return nil, errUnwritten }
