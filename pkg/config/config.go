package config

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// DefaultPath is the daemon's configuration file.
const DefaultPath = "/etc/outwarden/config.yaml"

// Config is a validated configuration. It is immutable: do not change it or
// what it refers to.
type Config struct {
	Files     []string // every file that was read, in order
	Blank     bool     // nothing stands in the main file, or it is not there
	Capture   Capture
	Default   policy.Action // where no route matches
	StateDir  string        // absolute
	RunDir    string        // absolute
	Drain     time.Duration // how long established connections may go on when the daemon stops or is replaced
	Secrets   map[string]Source
	Authority Authority
	DNS       DNS
	Audit     Audit
	Routes    []Route // in the order in which they are tried
}

// Policy compiles the routes. policy.Decision.Route is an index of c.Routes.
func (c *Config) Policy() *policy.Policy {
	routes := make([]policy.Route, len(c.Routes))
	for i := range c.Routes {
		routes[i] = c.Routes[i].Route
	}
	return policy.New(routes, c.Default)
}

// Capture says what the kernel hooks take.
type Capture struct {
	Scope    []Target
	Exclude  []Target
	Ports    []uint16 // ascending, each once
	FailOpen bool     // a dead interceptor lets connections pass
	PinDir   string   // absolute, on a bpffs
	Listen   []uint16 // ports of our listeners; none: the daemon chooses
	Mark     uint32   // on our own sockets; 0: the daemon chooses
	AllowRaw bool     // raw and ICMP sockets may send, and are recorded
	Reset    bool     // connections that existed before are reset, not only recorded

	Backend      Backend
	RedirectMark uint32  // of backends nft and tproxy, one bit; 0: the daemon chooses
	Guests       []Guest // of backend tproxy, which has at least one
}

// Backend is how connections come to the interceptor.
type Backend string

// The backends, by their names in the file.
const (
	Rewrite Backend = "rewrite" // the connect hook writes our listener into the call
	NFT     Backend = "nft"     // the connect hook marks the socket, and nftables redirects it
	TProxy  Backend = "tproxy"  // as Rewrite, and forwarded connections of guests too
)

// Guest says where guests are; at least one of the two is set, and both must hold.
type Guest struct {
	Source    netip.Prefix
	Interface string
}

// String is "10.0.0.0/24 by virbr0", or as much of it as is set.
func (g Guest) String() string {
	switch {
	case !g.Source.IsValid():
		return "by " + g.Interface
	case g.Interface == "":
		return g.Source.String()
	}
	return g.Source.String() + " by " + g.Interface
}

// Target names workloads; one of the two is set.
type Target struct {
	Cgroup string // absolute path below the cgroup2 mount, with all below it
	Unit   string // systemd unit
}

// Source says where a secret comes from; one of the three is set.
type Source struct {
	File     string // absolute path
	Systemd  string // name of a systemd credential
	SPIFFE   SPIFFE // an identity from a Workload API
	Position Position
}

// SPIFFE says which identity of ours a Workload API is asked for.
type SPIFFE struct {
	Socket   string // absolute path; "": none is
	Type     string // x509, bundle or jwt
	ID       string // "": the first
	Audience string // of jwt
}

// Authority says where the local CA keeps its key.
type Authority struct {
	TPM string // device, or unix:PATH of a socket, absolute; "": a file below StateDir
}

// DNS says how names of upstreams are resolved.
type DNS struct {
	Servers []netip.AddrPort // none: as /etc/resolv.conf says
}

// Audit says how records are kept.
type Audit struct {
	Synced         bool // wait for the disk, not only for the kernel
	AllowOnFailure bool // let a request go that cannot be recorded
}

// Route is one entry of the policy and what it adds to a request.
type Route struct {
	policy.Route
	Position  Position // of its name
	Cleartext bool     // a workload may speak plain HTTP to us and still get the credential
	Upstream  Upstream
	Inject    []Inject
	Sign      *Sign // nil: no signature
	Scrub     Scrub
	Limits    Limits
}

// Scrub says what becomes of the route's credentials in responses.
type Scrub string

// What becomes of them.
const (
	ScrubOn    Scrub = "on"    // they are taken out
	ScrubOff   Scrub = "off"   // nobody looks
	ScrubAlert Scrub = "alert" // they are recorded, and stay
)

// Credentialed reports whether the route adds anything that proves an identity:
// an injected secret, a signature or a client certificate.
func (r *Route) Credentialed() bool {
	return len(r.Inject) > 0 || r.Sign != nil || !r.Upstream.Certificate.IsZero()
}

// Upstream says how the connection to the API is made.
type Upstream struct {
	Certificate, Key Material   // client certificate chain and its key, PEM; both or neither
	CA               Material   // roots to trust in place of the system's, PEM
	EgressIP         netip.Addr // source address; the zero Addr leaves it to the kernel
	AllowPrivate     bool       // private addresses may be dialled
}

// Material is where PEM data lies; at most one of the two is set.
type Material struct {
	File   string // absolute path
	Secret string // name in Config.Secrets
}

// IsZero reports whether nothing is named.
func (m Material) IsZero() bool { return m == Material{} }

// Form is how a credential stands on a request.
type Form string

// The forms, by their keys in the file.
const (
	Bearer Form = "bearer" // Authorization: Bearer SECRET
	Basic  Form = "basic"  // Authorization: Basic base64(Username:SECRET)
	Header Form = "header" // Field: Prefix + SECRET
	Query  Form = "query"  // Field=SECRET
	Cookie Form = "cookie" // Cookie: Field=SECRET, beside others
	Path   Form = "path"   // segment number Segment is Prefix + SECRET
	JSON   Form = "json"   // a string in a JSON body, at the pointer Field
	Fields Form = "form"   // Field of a form in the body

	// SECRET in the place of a placeholder that the workload holds.
	Swap Form = "placeholder"
)

// Inject is one credential to put on a request.
type Inject struct {
	Form     Form
	Secret   string // name in Config.Secrets
	Field    string // of header, query, cookie and form: the name; of json: the pointer
	Username string // of basic
	Prefix   string // of header and path
	Segment  int    // of path, from 1

	Template    []Piece // of header, in place of Secret
	Placeholder Placeholder
}

// Piece of a template: text, or the name of a secret.
type Piece struct{ Text, Secret string }

// Placeholder says what a workload holds in a secret's stead, and where it may
// stand.
type Placeholder struct {
	In     []string // header, query, path, body
	Shape  string   // jwt or aws; "": opaque
	Prefix string   // of an opaque one
	Length int      // with the prefix; 0: the usual
}

// Secrets are the names of what is injected.
func (i *Inject) Secrets() []string {
	if i.Template == nil {
		return []string{i.Secret}
	}
	var names []string
	for _, p := range i.Template {
		if p.Secret != "" {
			names = append(names, p.Secret)
		}
	}
	return names
}

// Limits of one route.
type Limits struct {
	SignedBody int64 // bytes of a body that a signer holds at most
	EditedBody int64 // and of one that a credential is written into, decoded
}

// Position is a place in a file; lines and columns count from 1. The zero
// Position is nowhere.
type Position struct {
	File         string
	Line, Column int
}

// IsZero reports whether p is nowhere.
func (p Position) IsZero() bool { return p == Position{} }

// String is file:line:column, or as much of it as is known.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}
