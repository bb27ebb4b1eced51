package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/process"
)

// Step is what one route made of a request.
type Step struct {
	Route   int
	Name    string
	Matched bool        // the route decided
	Reason  flow.Reason // NoRoute, IdentityMismatch, RequestMismatch or PathAmbiguous; none if it matched
	Why     string      // the first condition that failed, or the action, for a person
}

// Explain tells what each route made of a request, in order, up to the one that
// decided. With an empty r.Method it explains the connection: routes that look
// inside are then left open. Its cost grows with the number of routes.
func (p *Policy) Explain(r *Request) []Step {
	var steps []Step
	for i := range p.routes {
		step := p.routes[i].explain(r)
		step.Route, step.Name = i, p.routes[i].Name
		steps = append(steps, step)
		if step.Matched || step.Reason == flow.ReasonPathAmbiguous && p.routes[i].Mode == Enforce {
			break
		}
	}
	return steps
}

func (r *Route) explain(q *Request) Step {
	if why := r.missDestination(q); why != "" {
		return Step{Reason: flow.ReasonNoRoute, Why: why}
	}
	if why := r.From.miss(q); why != "" {
		return Step{Reason: flow.ReasonIdentityMismatch, Why: why}
	}
	switch {
	case q.Method == "" && r.To.looksInside():
		return Step{Why: "decided by the method and path of each request"}
	case q.Method == "":
	case !r.To.matchesMethod(q.Method):
		return Step{Reason: flow.ReasonRequestMismatch, Why: fmt.Sprintf("method %s is not among %s", q.Method, strings.Join(r.To.Methods, ", "))}
	}
	switch why := r.To.missPath(q.Path); why {
	case flow.ReasonPathAmbiguous:
		return Step{Reason: why, Why: fmt.Sprintf("path %q can be read in two ways", q.Path)}
	case flow.ReasonRequestMismatch:
		return Step{Reason: why, Why: fmt.Sprintf("path %q is not among %s", q.Path, list(r.To.Paths))}
	}
	return Step{Matched: true, Why: r.Action.String() + ", mode " + r.Mode.String()}
}

func (r *Route) missDestination(q *Request) string {
	t := &r.To
	switch host := q.Host; {
	case !t.matchesHost(host) && !r.denies(q.Addr):
		if host == "" {
			host = "(unknown)"
		}
		return fmt.Sprintf("host %s is not among %s", host, list(t.Hosts))
	case !t.matchesPort(q.Port):
		return fmt.Sprintf("port %d is not among %s", q.Port, strings.Trim(fmt.Sprint(t.Ports), "[]"))
	}
	return ""
}

// denies reports whether the route denies an address, whatever name is said.
func (r *Route) denies(a netip.Addr) bool {
	return r.Action == Deny && a.IsValid() && r.To.matchesHost(a.Unmap().String())
}

func (t *To) matchesHost(host string) bool {
	for _, h := range t.Hosts {
		if h.Match(host) {
			return true
		}
	}
	return len(t.Hosts) == 0
}

// miss names the first condition that the process, or the guest, does not meet;
// "" is none.
func (f *From) miss(q *Request) string {
	id := q.Process
	switch {
	case !f.matchesGuest(q.Guest) && !q.Guest.IsValid():
		return "it is no guest"
	case !f.matchesGuest(q.Guest):
		return notAmong("guest", q.Guest.String(), list(f.Guests))
	case f.AnyProcess():
		return ""
	case id == nil:
		return "the process is not known"
	case !matchesGlob(f.Exe, id.Exe):
		return notAmong("executable", id.Exe, list(f.Exe))
	case !matchesDigest(f.ExeSHA256, id.ExeSHA256):
		return notAmong("executable digest", id.ExeSHA256, strings.Join(f.ExeSHA256, ", "))
	case !matchesUser(f.Users, id):
		return notAmong("user", userName(id), strings.Join(f.Users, ", "))
	case !matchesGlob(f.Units, id.Unit):
		return notAmong("unit", id.Unit, list(f.Units))
	case !matchesGlob(f.Cgroups, id.Cgroup):
		return notAmong("cgroup", id.Cgroup, list(f.Cgroups))
	}
	return ""
}

func notAmong(what, have, want string) string {
	if have == "" {
		return fmt.Sprintf("%s is not known, must be %s", what, want)
	}
	return fmt.Sprintf("%s %s is not among %s", what, have, want)
}

func userName(id *process.Identity) string {
	if id.UID == process.NoUID {
		return id.User
	}
	uid := strconv.FormatUint(uint64(id.UID), 10)
	if id.User == "" {
		return uid
	}
	return id.User + " (" + uid + ")"
}

func list[T fmt.Stringer](items []T) string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = item.String()
	}
	return strings.Join(names, ", ")
}
