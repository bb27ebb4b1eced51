package proxy

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// What a workload says of a name is no proof that its connection leads there: it may
// say a name that a route passes, and connect to any other's address. Where nothing
// that we decrypt or verify shows where it leads, it is made to lead there: the
// address that the workload asked for is kept if it is one of the name's, as it may
// have chosen among them, and else one of them takes its place.

// straight reports whether a connection may go where the workload asked for, as far
// as that is known without a wait.
func (c *conn) straight(d policy.Decision, name string) bool {
	asked := c.flow.Original.Addr().Unmap()
	return !c.snap.Policy.ByName(d, asked) || c.p.o.Resolver.Knows(name, asked)
}

// follow finds where a connection that is passed through goes, and reports whether
// it goes anywhere.
func (c *conn) follow() bool {
	if c.straight(c.decision, c.name) {
		return true
	}
	a, reason := c.destination(c.asks(), c.decision, c.name)
	c.decision.Reason = reason
	if !a.IsValid() {
		c.deny()
		return false
	}
	c.to = netip.AddrPortFrom(a, c.to.Port())
	return true
}

// destination is the address for what a route passes on by its name. Without one the
// reason says why; else the reason is what the record says of another address than
// the one that was asked for. A route in mode report leaves that one where it would
// have to refuse.
func (c *conn) destination(ctx context.Context, d policy.Decision, name string) (netip.Addr, flow.Reason) {
	asked := c.flow.Original.Addr().Unmap()
	answers, reason := c.answers(ctx, name)
	switch {
	case slices.Contains(answers, asked):
		return asked, flow.ReasonNone
	case reason == flow.ReasonNone:
		answers, reason = c.reachable(name, answers)
	}
	switch {
	case len(answers) > 0:
		return answers[rand.IntN(len(answers))], flow.ReasonAddressReplaced
	case d.Mode == policy.Report:
		return asked, reason
	}
	return netip.Addr{}, reason
}

func (c *conn) answers(ctx context.Context, name string) ([]netip.Addr, flow.Reason) {
	ctx, cancel := context.WithTimeout(ctx, c.p.o.Timeouts.Hello)
	defer cancel()
	answers, err := c.p.o.Resolver.Lookup(ctx, name)
	if err != nil || len(answers) == 0 {
		return nil, flow.ReasonResolveFailed
	}
	return answers, flow.ReasonNone
}

// reachable keeps the answers that may take the place of what was asked for, of its
// family if there are such. The reason is the first one's where there are none.
func (c *conn) reachable(name string, answers []netip.Addr) (kept []netip.Addr, first flow.Reason) {
	for _, a := range answers {
		switch reason := c.bars(name, a); {
		case reason == flow.ReasonNone:
			kept = append(kept, a)
		case first == flow.ReasonNone:
			first = reason
		}
	}
	asked := c.flow.Original.Addr().Unmap()
	other := func(a netip.Addr) bool { return a.Is4() != asked.Is4() }
	if !slices.ContainsFunc(kept, func(a netip.Addr) bool { return !other(a) }) {
		return kept, first
	}
	return slices.DeleteFunc(kept, other), first
}

// bars is why an answer may not take that place: whoever rules a name must not have
// us reach for a workload what it could not reach by itself.
func (c *conn) bars(name string, a netip.Addr) flow.Reason {
	const alsoPrivate = true
	egress, q := c.egressIP(), c.question(name)
	q.Addr = a
	switch d := c.snap.Policy.Connection(q); {
	case d.Effective() == policy.Deny:
		return d.Reason
	case upstream.DeniedRange(a, alsoPrivate) != "", (c.flow.Away || c.flow.Guest) && a.IsLoopback():
		return flow.ReasonAddressDenied
	case c.p.isOurs(netip.AddrPortFrom(a, c.flow.Original.Port())):
		return flow.ReasonLoop
	case c.flow.Away && !c.p.o.Flows.Reaches(c.flow.Netns, a):
		return flow.ReasonNetworkUnreachable
	case egress.IsValid() && egress.Is4() != a.Is4():
		return flow.ReasonEgressUnavailable
	}
	return flow.ReasonNone
}

// elsewhere is what a record says of an address that the workload did not ask for;
// nil: it goes where it did.
func (c *conn) elsewhere() *audit.Upstream {
	if c.to == c.flow.Original {
		return nil
	}
	return &audit.Upstream{IP: c.to.Addr().String(), Port: c.to.Port()}
}

// loose reports whether the request goes out in clear text, with nothing of ours, to a
// host that a route names: no certificate shows that the address which the workload
// asked for is the host's. Until that is found out our resolver's answer is the target.
func (q *request) loose() bool {
	return q.c.proto != protoTLS && !q.plan.identifies() && q.c.snap.Policy.ByName(q.decision, q.c.flow.Original.Addr())
}

// stay lets a loose request go where the workload asked for, if that is known to be
// right.
func (q *request) stay() {
	if q.loose() && q.c.straight(q.decision, q.host) {
		q.addr = q.c.flow.Original.Addr()
	}
}

// find finds out where a loose request goes.
func (q *request) find(ctx context.Context) *failure {
	if q.addr.IsValid() || !q.loose() {
		return nil
	}
	if q.stay(); q.addr.IsValid() {
		return nil
	}
	addr, reason := q.c.destination(ctx, q.decision, q.host)
	if !addr.IsValid() {
		return refusal(reason, "no address of "+q.host+" that may be dialled, and the one connected to is not known to be one")
	}
	q.addr, q.decision.Reason = addr, reason
	return nil
}
