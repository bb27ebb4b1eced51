package proxy_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/relay"
)

// names is a resolver: host to addresses.
type names map[string][]netip.Addr

func (n names) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	if addrs := n[name]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, errors.New("no such host: " + name)
}

// Knows says what Lookup would.
func (n names) Knows(name string, a netip.Addr) bool { return slices.Contains(n[name], a) }

// flows are the kernel's records: each is given out once.
type flows struct {
	mu sync.Mutex
	m  map[netip.AddrPort]flow.Flow
}

func newFlows() *flows { return &flows{m: make(map[netip.AddrPort]flow.Flow)} }

func (f *flows) add(r flow.Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[r.Source] = r
}

func (f *flows) Lookup(_ uint64, _, remote netip.AddrPort) (flow.Flow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.m[remote]
	delete(f.m, remote)
	return r, ok
}

// Reaches holds but for the documentation's third network.
func (f *flows) Reaches(_ uint64, to netip.Addr) bool {
	return !netip.MustParsePrefix("203.0.113.0/24").Contains(to)
}

// processes knows the two pids of the tests.
type processes struct{}

var identities = map[uint32]*process.Identity{
	appPID:   {PID: appPID, Exe: "/opt/app/client", UID: 1000},
	otherPID: {PID: otherPID, Exe: "/usr/bin/other", UID: 1000},
}

func (processes) Known(f *flow.Flow) *process.Identity { return identities[f.Caller.PID] }

func (processes) Resolve(f *flow.Flow) (*process.Identity, error) {
	return identities[f.Caller.PID], nil
}

// defects are what the interceptor reports of itself.
type defects struct {
	mu  sync.Mutex
	all []error
}

func (d *defects) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, err)
}

func (d *defects) has(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.all, func(is error) bool { return errors.Is(is, err) })
}

func dialPlain(from netip.Addr, to netip.AddrPort, speaks bool) (int, error) {
	return relay.Dial(from, to, speaks, nil)
}
