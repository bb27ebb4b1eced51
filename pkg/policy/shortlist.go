package policy

import "github.com/outwarden/outwarden/pkg/flow"

// Shortlist is the part of a policy that one process meets at one host and port.
// Requests of a connection have it in common, so it is made once for them.
type Shortlist struct {
	policy *Policy
	missed flow.Reason // NoRoute, or why a route for the destination is not among them

	// The routes, in order, to the first that every request matches. Nearly always
	// they are few.
	few  [4]int32
	more []int32
	n    int
}

func (s *Shortlist) add(i int) {
	if s.n < len(s.few) {
		s.few[s.n] = int32(i)
	} else {
		s.more = append(s.more, int32(i))
	}
	s.n++
}

func (s *Shortlist) at(k int) int {
	if k < len(s.few) {
		return int(s.few[k])
	}
	return int(s.more[k-len(s.few)])
}

// Shortlist returns the routes for the process, host and port of r. Its cost grows
// with the number of routes that name the host.
func (p *Policy) Shortlist(r *Request) Shortlist {
	s := Shortlist{policy: p, missed: flow.ReasonNoRoute}
	for c := p.candidates(r); ; {
		i := c.next()
		if i == none {
			return s
		}
		switch route := &p.routes[i]; {
		case !route.To.matchesPort(r.Port):
		case !route.From.matches(r):
			s.missed = flow.ReasonIdentityMismatch
		default:
			s.add(i)
			if !route.To.looksInside() {
				return s
			}
		}
	}
}

// Connection decides before anything of the connection is decrypted.
//
// If one of the routes looks inside, the connection is intercepted, in the name of
// the first of them that injects, else of the first that looks inside; Decide then
// has the word. Routes in mode observe never cause an interception.
func (s *Shortlist) Connection() Decision {
	p := s.policy
	inside, observed := none, none
	for k := range s.n {
		i := s.at(k)
		switch route := &p.routes[i]; {
		case route.To.looksInside() && route.Mode == Observe:
			observed = first(observed, i)
		case route.To.looksInside():
			inside = p.speaker(inside, i)
		case inside == none:
			return p.decided(i)
		default:
			return p.intercepted(p.speaker(inside, i))
		}
	}
	return p.undecided(inside, observed, s.missed)
}

// Any reports whether f holds for any of the routes.
func (s *Shortlist) Any(f func(route int) bool) bool {
	for k := range s.n {
		if f(s.at(k)) {
			return true
		}
	}
	return false
}

// NamesMethods reports whether a request of another method might be decided otherwise.
func (s *Shortlist) NamesMethods() bool {
	for k := range s.n {
		if len(s.policy.routes[s.at(k)].To.Methods) > 0 {
			return true
		}
	}
	return false
}

// DecideEither decides one request that its server may take for one of another method,
// because a field tells it to: it has to be allowed as both, and gets no credential that
// it would not get as the other.
func (s *Shortlist) DecideEither(method, override, path string) Decision {
	d, other := s.Decide(method, path), s.Decide(override, path)
	switch {
	case d.Effective() == Deny, d.Route == other.Route:
		return d
	case other.Effective() == Deny:
		return other
	case d.Route != none && d.Effective() == Intercept:
		return Decision{d.Route, d.Name, Deny, d.Mode, flow.ReasonRequestMismatch}
	}
	return d
}

// Decide decides one request; path is as it will be sent, without the query.
//
// An ambiguous path is refused by the first route that would have to match it.
// If that one does not enforce, a later route may still refuse, but none adds a
// credential.
func (s *Shortlist) Decide(method, path string) Decision {
	p, missed, doubt := s.policy, s.missed, none
	for k := range s.n {
		i := s.at(k)
		switch why := p.routes[i].To.miss(method, path); {
		case why == flow.ReasonNone:
			return p.settle(p.decided(i), doubt)
		case why != flow.ReasonPathAmbiguous:
			missed = why
		case p.routes[i].Mode == Enforce:
			return p.ambiguous(i)
		default:
			doubt = first(doubt, i)
		}
	}
	return p.settle(p.unmatched(missed), doubt)
}
