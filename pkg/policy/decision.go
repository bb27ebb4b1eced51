package policy

import (
	"net/netip"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/process"
)

// Request is what is asked: a connection, or one request on it.
type Request struct {
	Process *process.Identity // nil: not known
	Guest   netip.Addr        // of a guest, which has no process; the zero Addr: it is none
	Host    string            // canonical (match.CanonicalHost); "" unknown
	Addr    netip.Addr        // of the original destination; the zero Addr: not known
	Port    uint16            // of the original destination
	Method  string            // "" at connection level
	Path    string            // as it will be sent, without the query
}

// Decision is the policy's answer.
type Decision struct {
	Route  int    // index of the route that decided; -1: none, the default did
	Name   string // its name
	Action Action
	Mode   Mode
	Reason flow.Reason // why it is denied, or why no route matched
}

// Effective is what to do, the mode considered: a route in mode observe changes
// nothing, so its connection is copied and its request forwarded without a
// credential; one in mode report does not refuse.
func (d Decision) Effective() Action {
	switch {
	case d.Mode == Observe, d.Mode == Report && d.Action == Deny:
		return Passthrough
	}
	return d.Action
}

// ByName reports whether d holds for a connection to an address only because of the
// name that it asks for. Who passes such a one on has to see to it that it goes where
// the name leads: what a workload says is no proof. The default, a route that names
// the address too, and one that only observes hold for the address as it is.
func (p *Policy) ByName(d Decision, a netip.Addr) bool {
	return d.Route != none && d.Mode != Observe && d.Action != Deny && !p.routes[d.Route].holds(a.Unmap())
}

// none is the index of no route.
const none = -1

// Connection decides before anything of the connection is decrypted, by process,
// host and port; r.Method and r.Path are ignored.
func (p *Policy) Connection(r *Request) Decision {
	s := p.Shortlist(r)
	return s.Connection()
}

// undecided is the answer where every route that is for the connection looks
// inside, so that the default may decide some of the requests on it.
func (p *Policy) undecided(inside, observed int, missed flow.Reason) Decision {
	switch {
	case inside != none:
		return p.intercepted(inside)
	case observed == none:
		return p.unmatched(missed)
	case p.def == Passthrough:
		return p.decided(observed)
	}
	return Decision{Route: none, Action: Intercept}
}

// speaker chooses the route in whose name a connection is intercepted: the
// first that injects, else the first.
func (p *Policy) speaker(current, next int) int {
	injects := p.routes[next].Action == Intercept && p.routes[next].Mode != Observe
	if current == none || injects && p.routes[current].Action != Intercept {
		return next
	}
	return current
}

func first(current, next int) int {
	if current == none {
		return next
	}
	return current
}

// Decide decides one request. Where no route matches, the default does, with the
// nearest miss as the reason: no route for the destination (NoRoute), one for
// another process (IdentityMismatch), or one for another method or path
// (RequestMismatch).
func (p *Policy) Decide(r *Request) Decision {
	s := p.Shortlist(r)
	return s.Decide(r.Method, r.Path)
}

// settle lets an earlier doubt about the path stand, unless d refuses anyway.
func (p *Policy) settle(d Decision, doubt int) Decision {
	if doubt == none || d.Effective() == Deny {
		return d
	}
	return p.ambiguous(doubt)
}

func (p *Policy) ambiguous(i int) Decision {
	return Decision{i, p.routes[i].Name, Deny, p.routes[i].Mode, flow.ReasonPathAmbiguous}
}

func (p *Policy) decided(i int) Decision {
	route := &p.routes[i]
	reason := flow.ReasonNone
	if route.Action == Deny {
		reason = flow.ReasonRouteDenies
	}
	return Decision{i, route.Name, route.Action, route.Mode, reason}
}

func (p *Policy) intercepted(i int) Decision {
	return Decision{Route: i, Name: p.routes[i].Name, Action: Intercept, Mode: p.routes[i].Mode}
}

func (p *Policy) unmatched(why flow.Reason) Decision {
	return Decision{Route: none, Action: p.def, Reason: why}
}
