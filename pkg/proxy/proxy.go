package proxy

import (
	"context"
	"crypto/tls"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/relay"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// Flows finds the kernel's record of a connect by the network namespace and the
// tuple of the accepted connection. A record is given out once. Reaches reports
// whether that namespace, where it is not ours, has a way of its own to an address.
type Flows interface {
	Lookup(netns uint64, local, remote netip.AddrPort) (flow.Flow, bool)
	Reaches(netns uint64, to netip.Addr) bool
}

// Processes tells who is behind a flow.
type Processes interface {
	Resolve(f *flow.Flow) (*process.Identity, error)
	Known(f *flow.Flow) *process.Identity // what Resolve would return without asking anybody; nil: it would have to
}

// Leaves mints server certificates for names that workloads ask for. An error
// that is a flow.Reason is a refusal; any other is a defect.
type Leaves interface {
	CertificateFor(cgroup uint64, name string) (*tls.Certificate, error)
}

// Resolver tells which addresses a canonical name has.
type Resolver interface {
	Lookup(ctx context.Context, host string) ([]netip.Addr, error)
	Knows(host string, a netip.Addr) bool // whether Lookup returns a, as far as that is known without a wait
}

// Records takes audit records. Append returns when the record survives the
// death of this process. Where Waits reports so, it may have to wait for that, for the
// disk or for another process, so nobody may append who serves others too.
type Records interface {
	Append(r *audit.Record) error
	Waits() bool
}

// Dial begins to connect to the destination of what is passed through, from a
// source address unless that is zero; see [relay.Dial]. speaks: the workload has
// said something that goes there at once. The socket carries our mark, so that the
// hook lets it pass.
type Dial func(from netip.Addr, to netip.AddrPort, speaks bool) (socket int, err error)

// Plan is what a route does once policy has chosen it.
type Plan struct {
	Inject    *inject.Plan      // nil: no credential
	Upstream  *upstream.Profile // how the origin is reached
	Hosts     []match.Host      // the hosts that the route names
	Cleartext bool              // the route allows plain HTTP from the workload
	Scrub     Scrub             // what is looked for in responses

	// How many bytes of a body may be held in memory: to sign it, and to write a
	// credential into it.
	SignedBody, EditedBody int64
}

// Snapshot is one loaded configuration. It is immutable.
type Snapshot struct {
	Policy   *policy.Policy
	Plans    []Plan            // by policy.Decision.Route
	Default  *upstream.Profile // where no route matches
	BlindOK  bool              // audit.on_failure: allow: requests go on although the trail can't be written
	Upstream inject.Upstreams

	// Placeholders are those of all routes; nil: there are none.
	Placeholders *inject.Placeholders
}

// Timeouts bound what a peer can hold open. Zero fields take the defaults.
type Timeouts struct {
	Silence   time.Duration // a workload that says nothing: is the server to speak first?
	Hello     time.Duration // the whole ClientHello and TLS handshake
	Head      time.Duration // a request head, from its first byte
	Idle      time.Duration // between two requests
	Response  time.Duration // from the request's end to the response head
	BodyStall time.Duration // between two reads or writes of a body, or two events
	Look      time.Duration // between two looks whether a workload that waits is still there
	Drain     time.Duration // established flows at Close
}

// defaultTimeouts fit interactive API traffic and event streams. A stream that
// is silent for longer is cut.
var defaultTimeouts = Timeouts{
	Silence:   time.Second,
	Hello:     10 * time.Second,
	Head:      20 * time.Second,
	Idle:      5 * time.Minute,
	Response:  5 * time.Minute,
	BodyStall: 5 * time.Minute,
	Look:      5 * time.Second,
	Drain:     10 * time.Second,
}

// Options are the values a Proxy works with. All interfaces must be set.
type Options struct {
	Flows     Flows
	Processes Processes
	Leaves    Leaves
	Records   Records
	Resolver  Resolver // for what is passed through by its name
	Timeouts  Timeouts
	MaxConns  int         // captured connections at once; 0: 65536. One workload gets half of what others leave
	MaxTurns  int         // TLS handshakes of one workload at once; 0: 32 for each processor
	Dial      Dial        // a connection for what is passed through, marked as ours
	OnDefect  func(error) // a defect of ours or of the trail; must not block
}

// Proxy serves captured connections from any number of listeners.
type Proxy struct {
	o        Options
	snap     atomic.Pointer[Snapshot]
	slots    chan struct{}
	shares   *shares
	conns    sync.WaitGroup
	mu       sync.Mutex
	open     map[*conn]struct{}
	watching bool // whether they are looked after
	closing  atomic.Bool
	settle   atomic.Pointer[settling]

	patience time.Duration   // of Close
	ctx      context.Context // ends when Close has lost patience
	stop     context.CancelFunc
	crew     crew
	relay    *relay.Relay
	habits   habits

	dismissed chan struct{} // closed when no connection will come any more
	configs   configs
	apart     atomic.Uint64 // connections with upstreams of their own, ever
	ours      sync.Map      // netip.AddrPort of our listeners, to refuse loops
	stats     Stats
}

// New returns a Proxy that serves nothing until SetSnapshot and Serve.
func New(o Options) *Proxy {
	o.Timeouts = o.Timeouts.orDefault()
	if o.MaxConns == 0 {
		o.MaxConns = 1 << 16
	}
	if o.OnDefect == nil {
		o.OnDefect = func(error) {}
	}
	p := &Proxy{
		o: o, slots: make(chan struct{}, o.MaxConns), shares: newShares(o.MaxConns, o.MaxTurns), open: make(map[*conn]struct{}),
	}
	p.patience = o.Timeouts.Drain
	p.relay, p.habits = relay.New(runtime.GOMAXPROCS(0)), newHabits()
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.crew, p.dismissed = newCrew(p), make(chan struct{})
	return p
}

// ForgetTickets makes every workload do a full handshake next time, as a change
// of the authority demands.
func (p *Proxy) ForgetTickets() { p.configs.forget() }

// Stats are counters since start; read them with Load.
type Stats struct {
	Accepted, Unattributed, Intercepted, Passed, Denied atomic.Uint64
	Requests, Refused, Credentialed                     atomic.Uint64

	// Limited are connections refused because their workload had its share.
	Limited atomic.Uint64
}

// Stats returns the live counters.
func (p *Proxy) Stats() *Stats { return &p.stats }

// Shed gives back what is kept for connections to come: stacks that have grown,
// pipes, buffers. For when traffic rests.
func (p *Proxy) Shed() {
	p.crew.shed()
	p.relay.Shed()
}

// Open is the number of flows being served.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

func (p *Proxy) each(f func(*conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		f(c)
	}
}

func (t Timeouts) orDefault() Timeouts {
	for _, f := range []struct{ have, want *time.Duration }{
		{&t.Silence, &defaultTimeouts.Silence}, {&t.Hello, &defaultTimeouts.Hello}, {&t.Head, &defaultTimeouts.Head},
		{&t.Idle, &defaultTimeouts.Idle}, {&t.Response, &defaultTimeouts.Response},
		{&t.BodyStall, &defaultTimeouts.BodyStall}, {&t.Look, &defaultTimeouts.Look}, {&t.Drain, &defaultTimeouts.Drain},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	return t
}
