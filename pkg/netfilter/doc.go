// Package netfilter keeps the one nftables table that is ours in a network
// namespace, and for guests the policy rules and the route that belong to it.
//
// [Config.Local] redirects connections of local sockets that the connect hook
// has marked to our listeners (backend nft). [Config.Guests] hands connections
// that are forwarded through this host, of virtual machines, sandboxes and other
// namespaces, to transparent listeners (backend tproxy). [Open] puts all of it
// in place in one transaction, however often it is called, and over whatever an
// earlier process left; [Table.Watch] puts it back when somebody else has
// changed it; [Remove] takes it away and needs no daemon. Other tables, rules
// and routes are never touched.
//
// Traps. The table says where connections go, never whether they may go: that
// nothing passes while it is gone is the work of the fence in bpf/nat.h for local
// sockets, and of prohibiting policy rules, which no flush of nftables takes
// away, for guests. Chains of type nat see the first packet of a connection
// alone. A redirected connection can come with another source port than its
// socket has: conntrack gives it a new one where two sockets share one. nft's
// tproxy statement only breaks off its rule where nobody listens, so a rule that
// refuses stands behind it. What names an interface is matched by name, so the
// interface may come and go.
package netfilter
