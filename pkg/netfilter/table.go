package netfilter

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/google/nftables"
	wire "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// DefaultMark is the bit of a packet's mark by which redirected sockets and
// intercepted guests are known, unless the configuration names another. It is
// one that Kubernetes, Calico, Cilium, Istio, Tailscale and wg-quick leave alone.
const DefaultMark = 0x80

// ErrUnsupported is what a kernel gives that lacks a part of nftables.
var ErrUnsupported = errors.New("the kernel lacks a part of nftables")

// Config says what a table does.
type Config struct {
	Name   string   // of the table; [Remove] finds all that belongs to it by this
	Netns  *os.File // network namespace; nil: the caller's. It may be closed after Open
	Mark   uint32   // one bit; DefaultMark if zero
	Local  Local
	Guests Guests
}

// Local are the listeners that marked connections of this namespace's own
// sockets are redirected to, each as often as the others. None: no redirect.
type Local struct {
	IPv4, IPv6 []uint16 // ports, on 127.0.0.1 and ::1
}

// Guests says which forwarded connections are intercepted.
type Guests struct {
	From       []Guest
	Ports      []uint16 // TCP destination ports
	IPv4, IPv6 uint16   // of the transparent listeners on 127.0.0.1 and ::1; 0: there is none
	FailOpen   bool     // without a listener connections are forwarded; otherwise refused
	AllowQUIC  bool     // let UDP to 443 pass, if 443 is among Ports
}

// Guest names where guests are; both conditions must hold.
type Guest struct {
	Source    netip.Prefix // their addresses; the zero Prefix: any
	Interface string       // by which they come; "": any
}

// Table is our table in one network namespace. Its methods may be called from
// several goroutines.
type Table struct {
	nft    *nftables.Conn
	routes *netlink.Handle
	ns     netns.NsHandle

	mu     sync.Mutex
	want   Config
	seen   picture // what the kernel showed when all was in place
	health Health
	held   bool // see Hold
}

// Health is how a table is.
type Health struct {
	Name     string
	Intact   bool      // at the last look
	Restored uint64    // times that somebody's change was undone
	Changed  time.Time // the last of them
	Failed   error     // of the last try to put it back; nil: it is in place
}

// Open puts the table in place, and for guests the policy rules. On an error
// nothing of it stays, but for what was there: that may be a living process's. The
// caller closes the Table.
func Open(c Config) (*Table, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	t, err := dial(c.Netns)
	if err != nil {
		return nil, err
	}
	t.health.Name = c.Name
	_, absent := t.find(c.Name)
	if err := t.Set(c); err != nil {
		if absent != nil {
			_, failed := t.remove(c.Name)
			err = errors.Join(err, failed)
		}
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (c *Config) complete() error {
	if c.Mark == 0 {
		c.Mark = DefaultMark
	}
	switch {
	case c.Name == "":
		return errors.New("the table needs a name")
	case bits.OnesCount32(c.Mark) != 1:
		return fmt.Errorf("mark %#x is not one bit", c.Mark)
	}
	for _, g := range c.Guests.From {
		if g.Interface == "" && !g.Source.IsValid() {
			return errors.New("a guest needs an interface or a source")
		}
		if len(g.Interface) >= unix.IFNAMSIZ {
			return fmt.Errorf("interface %q has too long a name", g.Interface)
		}
	}
	return nil
}

// dial reaches the netfilter and the routing of a namespace.
func dial(ns *os.File) (*Table, error) {
	t := &Table{ns: netns.None()}
	options := []nftables.ConnOption{nftables.WithSockOptions(makeRoom)}
	if ns != nil {
		fd, err := unix.FcntlInt(ns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("keep the network namespace", err)
		}
		t.ns = netns.NsHandle(fd)
		options = append(options, nftables.WithNetNSFd(int(t.ns)))
	}
	var err error
	if t.nft, err = nftables.New(options...); err == nil {
		t.routes, err = netlink.NewHandleAt(t.ns, unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach nftables and routing: %v", err), t.leave())
	}
	return t, nil
}

// makeRoom lets a socket hold a whole table, which goes out as one message and is
// acknowledged rule by rule: by default there is room for some forty ports.
func makeRoom(c *wire.Conn) error {
	const most = 64 << 20
	return errors.Join(c.SetReadBuffer(most), c.SetWriteBuffer(most))
}

// Set changes what the table does, in one step: no connection sees half of it.
// Name and Netns must be those of Open.
func (t *Table) Set(c Config) error {
	if err := c.complete(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = c
	return t.place()
}

// place puts all in place. The rules that prohibit come first and go last. t.mu
// is held.
func (t *Table) place() error {
	err := t.route()
	if err == nil {
		err = t.write()
	}
	if err == nil {
		t.seen, err = t.look()
	}
	t.health.Intact, t.health.Failed = err == nil, err
	return err
}

// write replaces the table in one transaction.
func (t *Table) write() error {
	table := &nftables.Table{Name: t.want.Name, Family: nftables.TableFamilyINet}
	t.nft.AddTable(table) // so that there is one to delete
	t.nft.DelTable(table)
	t.nft.AddTable(table)
	for _, chain := range chains(&t.want) {
		added := t.nft.AddChain(chain.of(table))
		for _, r := range chain.rules {
			t.nft.AddRule(&nftables.Rule{Table: table, Chain: added, Exprs: r})
		}
	}
	return explain(t.nft.Flush())
}

// explain tells a kernel without some part from other errors.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	return fmt.Errorf("write the nftables table: %w", err)
}

// Health tells how the table is.
func (t *Table) Health() Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.health
}

// Close lets go of the table and leaves it in place.
func (t *Table) Close() error {
	t.routes.Close()
	return t.leave()
}

// leave lets go of the network namespace, which it would keep alive.
func (t *Table) leave() error {
	if !t.ns.IsOpen() {
		return nil
	}
	return t.ns.Close()
}
