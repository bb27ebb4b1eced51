package proxy

import (
	"slices"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// mayLeave keeps us from being a way out for who has none. Upstreams are dialled
// from our network namespace, where a workload of another, or a guest, may be kept
// from on purpose: by having no route, or by what a metadata service tells to who
// is on the host and to nobody behind it.
func (c *conn) mayLeave() bool {
	switch {
	case c.flow.Away && !c.p.o.Flows.Reaches(c.flow.Netns, c.flow.Original.Addr()):
		c.decision = policy.Decision{Route: -1, Action: policy.Deny, Reason: flow.ReasonNetworkUnreachable}
	case (c.flow.Away || c.flow.Guest) && c.isHostsOwn():
		c.decision.Action, c.decision.Reason = policy.Deny, flow.ReasonAddressDenied
	default:
		return true
	}
	c.deny()
	return false
}

// isHostsOwn reports whether the destination is an address that means us and
// nobody behind us, and is not what a route names for this workload.
func (c *conn) isHostsOwn() bool {
	const alsoPrivate = true
	addr := c.flow.Original.Addr()
	if upstream.DeniedRange(addr, alsoPrivate) == "" {
		return false
	}
	c.decideUnknown(flow.ReasonAddressDenied)
	return c.decision.Route < 0 || !slices.ContainsFunc(c.snap.Plans[c.decision.Route].Hosts, func(h match.Host) bool {
		return !h.Any() && h.Match(addr.String())
	})
}
