package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/outwarden/outwarden/pkg/match"
)

var (
	// ErrNotFound means that the name has no address, or cannot be a name.
	ErrNotFound = errors.New("name has no address")

	// ErrNoAnswer means that no server gave an answer that could be used.
	ErrNoAnswer = errors.New("no usable answer from a name server")
)

// Options say where answers come from. The zero value is the host's own
// configuration.
type Options struct {
	Hosts      string           // path, default /etc/hosts
	ResolvConf string           // path, default /etc/resolv.conf; unused if Servers are given
	Servers    []netip.AddrPort // asked in this order
	Timeout    time.Duration    // for one question to one server, default 2 s

	// Control runs on every socket before it connects: our mark. May be nil.
	Control func(network, address string, c syscall.RawConn) error

	// Asker tells of a Lookup's context for whom it is: none is to take the room of the
	// others. nil: all are one.
	Asker func(context.Context) uint64

	// Now is the clock of the cache, default time.Now.
	Now func() time.Time
}

// Resolver looks names up and remembers the answers. It is safe for concurrent
// use and holds nothing that must be closed.
type Resolver struct {
	o       Options
	hosts   *watched[hosts]
	servers *watched[[]netip.AddrPort]
	cache   cache
	flights flights
}

const (
	rounds      = 2 // how often every server is asked
	maxLookup   = 10 * time.Second
	defaultWait = 2 * time.Second
)

// New returns a resolver. It reads nothing yet; a file that is absent later counts
// as empty.
func New(o Options) (*Resolver, error) {
	for _, s := range o.Servers {
		if !s.IsValid() || s.Port() == 0 {
			return nil, fmt.Errorf("name server %q is not address:port", s)
		}
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultWait
	}
	if o.Asker == nil {
		o.Asker = func(context.Context) uint64 { return 0 }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Resolver{
		o:       o,
		hosts:   &watched[hosts]{path: o.Hosts, parse: parseHosts},
		servers: &watched[[]netip.AddrPort]{path: o.ResolvConf, parse: parseServers},
	}, nil
}

// Lookup returns the addresses of host, IPv4-mapped ones as IPv4; at least one if
// the error is nil. An address is its own answer. The error wraps ErrNotFound or
// ErrNoAnswer, or is ctx's.
func (r *Resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	name, err := match.CanonicalHost(host)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotFound, err)
	}
	if a, ok := match.Address(name); ok {
		return []netip.Addr{a}, nil
	}
	known, _ := r.hosts.get(r.o.Now())
	if addrs := known[name]; len(addrs) > 0 {
		return slices.Clone(addrs), nil
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 section 6.3
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	return r.cached(ctx, name)
}

// Knows reports whether Lookup would return a for a canonical host, as far as that
// can be told without a wait: no file is read and nobody asked. What was found out
// a second ago or more, of the files, or has expired is not known any more.
func (r *Resolver) Knows(host string, a netip.Addr) bool {
	if literal, ok := match.Address(host); ok {
		return literal == a
	}
	now := r.o.Now()
	known, fresh := r.hosts.recent(now)
	if addrs := known[host]; !fresh || len(addrs) > 0 {
		return fresh && slices.Contains(addrs, a)
	}
	if len(r.o.Servers) == 0 {
		if _, fresh := r.servers.recent(now); !fresh {
			return false
		}
	}
	e, ok := r.cache.get(host, now)
	return ok && slices.Contains(e.addrs, a)
}

func (r *Resolver) cached(ctx context.Context, name string) ([]netip.Addr, error) {
	servers := r.o.Servers
	if len(servers) == 0 {
		var changed bool
		if servers, changed = r.servers.get(r.o.Now()); changed {
			r.cache.clear()
		}
	}
	if e, ok := r.cache.get(name, r.o.Now()); ok {
		return e.result(name)
	}
	e, err := r.flights.do(ctx, r.o.Asker(ctx), name, func() (entry, error) { return r.resolve(name, servers) })
	if err != nil {
		return nil, err
	}
	return e.result(name)
}

// resolve asks the servers and caches the answer. It does not belong to the
// context of one caller, because others may wait for it too.
func (r *Resolver) resolve(name string, servers []netip.AddrPort) (entry, error) {
	if e, ok := r.cache.get(name, r.o.Now()); ok { // it waited for its turn
		return e, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxLookup)
	defer cancel()
	found, err := r.both(ctx, name, servers)
	if err != nil {
		return entry{}, fmt.Errorf("look up %s: %w", name, err)
	}
	return r.cache.put(name, found, r.o.Now()), nil
}
