package policy

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/process"
)

// miss is the first condition that the request does not meet, host and port
// aside; ReasonNone if it meets all.
func (t *To) miss(method, path string) flow.Reason {
	if !t.matchesMethod(method) {
		return flow.ReasonRequestMismatch
	}
	return t.missPath(path)
}

// matches reports whether the process, or the guest, is one that f is for. What
// is not known of it is empty and matches no pattern.
func (f *From) matches(q *Request) bool {
	if !f.matchesGuest(q.Guest) {
		return false
	}
	id := q.Process
	return f.AnyProcess() || id != nil &&
		matchesGlob(f.Exe, id.Exe) &&
		matchesDigest(f.ExeSHA256, id.ExeSHA256) &&
		matchesUser(f.Users, id) &&
		matchesGlob(f.Units, id.Unit) &&
		matchesGlob(f.Cgroups, id.Cgroup)
}

func (f *From) matchesGuest(a netip.Addr) bool {
	return len(f.Guests) == 0 || slices.ContainsFunc(f.Guests, func(p netip.Prefix) bool { return p.Contains(a) })
}

// AnyProcess reports whether nothing is said of processes.
func (f *From) AnyProcess() bool {
	return len(f.Exe)+len(f.ExeSHA256)+len(f.Users)+len(f.Units)+len(f.Cgroups) == 0
}

func matchesGlob(globs []match.Glob, s string) bool {
	if len(globs) == 0 {
		return true
	}
	for i := range globs {
		if globs[i].Match(s) {
			return true
		}
	}
	return false
}

func matchesDigest(digests []string, digest string) bool {
	return len(digests) == 0 || digest != "" && slices.Contains(digests, digest)
}

func matchesUser(users []string, id *process.Identity) bool {
	if len(users) == 0 {
		return true
	}
	if id.User != "" && slices.Contains(users, id.User) {
		return true
	}
	if id.UID == process.NoUID {
		return false
	}
	const digits = 10 // of the largest uid
	var uid [digits]byte
	return slices.Contains(users, string(strconv.AppendUint(uid[:0], uint64(id.UID), 10)))
}

func (t *To) everywhere() bool {
	return len(t.Hosts) == 0 || slices.ContainsFunc(t.Hosts, match.Host.Any)
}

func (t *To) matchesPort(port uint16) bool {
	return len(t.Ports) == 0 || slices.Contains(t.Ports, port)
}

func (t *To) matchesMethod(method string) bool {
	if len(t.Methods) == 0 {
		return true
	}
	for _, m := range t.Methods {
		if m == method || equalFold(m, method) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII without case. strings.EqualFold folds Unicode too.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// missPath is ReasonNone if the paths allow the path, RequestMismatch if they do
// not, and PathAmbiguous if it must not be decided by them: it is ambiguous for
// one, and none matches it in every reading.
func (t *To) missPath(path string) flow.Reason {
	if len(t.Paths) == 0 {
		return flow.ReasonNone
	}
	missed := flow.ReasonRequestMismatch
	for i := range t.Paths {
		if t.Paths[i].Ambiguous(path) {
			missed = flow.ReasonPathAmbiguous
		} else if t.Paths[i].Match(path) {
			return flow.ReasonNone
		}
	}
	return missed
}
