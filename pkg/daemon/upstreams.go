package daemon

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/dns"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/relay"
	"github.com/outwarden/outwarden/pkg/snapshot"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// resolver is the DNS resolver in force; a reload may change its servers.
type resolver struct{ current atomic.Pointer[dns.Resolver] }

// Lookup resolves with the resolver in force.
func (r *resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return r.current.Load().Lookup(ctx, host)
}

// Knows tells what the resolver in force knows.
func (r *resolver) Knows(host string, a netip.Addr) bool { return r.current.Load().Knows(host, a) }

func newResolver(c *config.Config, mark controlFunc) (*dns.Resolver, error) {
	r, err := dns.New(dns.Options{Servers: c.DNS.Servers, Control: mark, Asker: proxy.WorkloadOf})
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	return r, nil
}

type controlFunc = func(network, address string, c syscall.RawConn) error

// mark marks a socket as our own. The hooks come up after whoever dials is
// built, but before anybody does.
func (d *Daemon) mark(network, address string, c syscall.RawConn) error {
	return d.capture.Control(network, address, c)
}

func (d *Daemon) openUpstreams(context.Context) error {
	resolver, err := newResolver(d.loaded.config, d.mark)
	if err != nil {
		return err
	}
	d.resolver.current.Store(resolver)
	d.host.look()
	d.upstreams = upstream.NewPool(upstream.Options{
		Resolver: &d.resolver, Control: d.mark, Roots: d.host.get, OwnRoot: d.leaves.issued, Listener: d.isListener,
	})
	d.later(d.upstreams.Close)
	return nil
}

func (d *Daemon) isListener(a netip.AddrPort) bool { return d.listeners.home().has(a) }

func (d *Daemon) buildProxy(ctx context.Context) error {
	d.later(d.closeReplays)
	d.loaded.readings = snapshot.NewReadings(d.loaded.config)
	first, err := d.buildSnapshot(ctx, d.loaded.config, d.loaded.readings)
	if err != nil {
		return err
	}
	d.loaded.warnings = append(d.loaded.warnings, d.loaded.readings.Warnings()...)
	for _, w := range d.loaded.readings.Warnings() {
		d.o.Log.Warn(w)
	}
	d.processes = process.NewResolver(process.Options{})
	d.proxy = proxy.New(proxy.Options{
		Flows: flows{d}, Processes: d.processes, Leaves: &d.leaves, Records: &d.records, Resolver: &d.resolver, Dial: d.dialPassed,
		Timeouts: proxy.Timeouts{Drain: d.loaded.config.Drain}, MaxConns: mostConns(d.descriptors()),
		OnDefect: d.defect,
	})
	d.proxy.SetSnapshot(first)
	d.later(func() { d.report("drain", d.proxy.Close()) })
	return nil
}

// mostConns is how many captured connections there may be with so many descriptors, so
// that the share of a workload means something: one that takes all it can, which is
// half, at two descriptors a connection, leaves what lookups and we ourselves need.
// Where descriptors abound it is what memory has room for.
func mostConns(descriptors uint64) int {
	const (
		most = 1 << 16
		ours = 1<<10 + 1<<8 // for lookups, and for files and listeners
	)
	return int(min(descriptors-min(ours, descriptors/4), most))
}

// descriptors is how many this process may have.
func (d *Daemon) descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		d.report("limit of open files", err)
		return math.MaxInt32
	}
	return min(limit.Cur, math.MaxInt32)
}

// dialPassed begins to connect to where a passed-through flow goes.
func (d *Daemon) dialPassed(from netip.Addr, to netip.AddrPort, speaks bool) (int, error) {
	return relay.Dial(from, to, speaks, d.capture.Mark)
}
