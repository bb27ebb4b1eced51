package policy

import (
	"fmt"
	"net/netip"

	"github.com/outwarden/outwarden/pkg/match"
)

// Action is what a route wants done.
type Action uint8

// The actions.
const (
	Passthrough Action = iota // copied undecrypted; of a single request: forwarded without a credential
	Intercept                 // decrypted, decided per request, the route's credential added
	Deny                      // refused
)

// String is the action's name in configuration and audit trail.
func (a Action) String() string {
	switch a {
	case Passthrough:
		return "passthrough"
	case Intercept:
		return "intercept"
	case Deny:
		return "deny"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText returns the name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// ParseAction is the reverse of Action.String.
func ParseAction(s string) (Action, error) {
	for _, a := range []Action{Passthrough, Intercept, Deny} {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("action %q is none of intercept, passthrough and deny", s)
}

// Mode is how far a route acts.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota // do what the action says
	Observe             // evaluate and record, change nothing
	Report              // do all but refuse
)

// String is the mode's name in configuration and audit trail.
func (m Mode) String() string {
	switch m {
	case Enforce:
		return "enforce"
	case Observe:
		return "observe"
	case Report:
		return "report"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// MarshalText returns the name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ParseMode is the reverse of Mode.String.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{Enforce, Observe, Report} {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q is none of enforce, report and observe", s)
}

// From says which processes a route is for. The zero From is for all, also for
// one of which nothing is known.
type From struct {
	Exe       []match.Glob // executable
	ExeSHA256 []string     // digest of the executable, lower-case hex
	Users     []string     // user names or decimal uids
	Units     []match.Glob // systemd units of the system manager
	Cgroups   []match.Glob // cgroup paths below the cgroup2 mount

	// Guests are addresses of guests, which are no processes: with any other
	// condition beside it nobody matches.
	Guests []netip.Prefix
}

// To says which destinations and requests a route is for.
type To struct {
	Hosts   []match.Host
	Ports   []uint16 // original destination ports; none: every captured port
	Methods []string // compared without case
	Paths   []match.Path
}

// looksInside reports whether only a decrypted request can tell a match.
func (t *To) looksInside() bool { return len(t.Methods) > 0 || len(t.Paths) > 0 }

// Route is one policy entry.
type Route struct {
	Name   string
	From   From
	To     To
	Action Action
	Mode   Mode
}
