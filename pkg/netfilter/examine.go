package netfilter

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Found is what Examine sees.
type Found struct {
	Table   bool // the nftables table is there
	Dormant bool // it is, and is switched off
	Rules   int  // policy rules
	Routes  int
}

// Examine tells what there is under a name in a network namespace (nil: the
// caller's), without a daemon. It changes nothing.
func Examine(ns *os.File, name string) (Found, error) {
	var f Found
	t, err := dial(ns)
	if err != nil {
		return f, err
	}
	defer t.Close()
	table, err := t.find(name)
	if err != nil && !errors.Is(err, errAbsent) {
		return f, err
	}
	if err == nil {
		f.Table, f.Dormant = true, table.Flags == dormant()
	}
	for family := range families() {
		rules, err := t.rules(family, routingTable(name))
		if err != nil {
			return f, err
		}
		routes, err := t.routesIn(family, routingTable(name))
		if err != nil {
			return f, err
		}
		f.Rules, f.Routes = f.Rules+len(rules), f.Routes+len(routes)
	}
	return f, nil
}

// dormant is NFT_TABLE_F_DORMANT as the library gives it: in network order.
func dormant() uint32 { return binary.NativeEndian.Uint32([]byte{0, 0, 0, 1}) }

// Probe puts a table in place in a network namespace of its own, which goes at
// once, and so tells whether this kernel has all that the configuration needs:
// the error is ErrUnsupported where it has not. The host's tables stay as they
// are, though the kernel may load modules. It needs root.
func Probe(c Config) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		done <- probe(c)
	}()
	return <-done
}

func probe(c Config) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("make a network namespace", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	c.Netns = ns
	t, err := Open(c)
	if err != nil {
		return err
	}
	return t.Close()
}
