package netfilter

import (
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// stray are the connections that began while the table was gone, or unmarked while
// the connect hook was. conntrack knows them as not to be translated and would keep
// to that for every SYN that is sent again, or comes from the same port, so that the
// connect would hang; forgotten, the next one is redirected. Nobody has answered any
// of them, so none is lost.
type stray struct{}

// MatchConntrackFlow reports whether nobody has answered a connection yet.
func (stray) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	info, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP)
	return ok && flow.Forward.Protocol == unix.IPPROTO_TCP && info.State == nl.TCP_CONNTRACK_SYN_SENT
}

// Forget makes conntrack forget connections that began unmarked, and that nobody has
// answered: to be called when what marks them stands again.
func (t *Table) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

// forget makes conntrack forget the strays. A kernel that does not track
// connections, or cannot list them, has none or lets them time out.
func (t *Table) forget() {
	tracked, err := netlink.NewHandleAt(t.ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return
	}
	defer tracked.Close()
	for family := range families() {
		_, _ = tracked.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(family), stray{})
	}
}
