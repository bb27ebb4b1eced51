package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netfilter"
)

// tables are our nftables tables, one in each network namespace where one is
// needed, and all of one name.
type tables struct {
	changed func(netfilter.Restored)
	failed  func(what string, err error)
	work    sync.WaitGroup

	mu   sync.Mutex
	home *netfilter.Table // nil: backend rewrite
	all  map[*netfilter.Table]*tableWatch
	gone uint64 // changes that were undone in tables that are removed
}

// tableWatch is the watch over one of them.
type tableWatch struct {
	stop  context.CancelCauseFunc
	ended chan struct{}
}

// forget has connections forgotten that began while the hooks were broken.
func (ts *tables) forget() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.all {
		t.Forget()
	}
}

// errDeserted ends the watch over a table that nobody needs any more.
var errDeserted = errors.New("nobody is left in the network namespace")

// open puts a table in place and watches it. remove takes it away, for when nobody
// is left in its namespace: detach would not find it there.
func (ts *tables) open(c netfilter.Config) (t *netfilter.Table, remove func(), err error) {
	if t, err = netfilter.Open(c); err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	w := &tableWatch{stop, make(chan struct{})}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all == nil {
		ts.all = map[*netfilter.Table]*tableWatch{}
	}
	ts.all[t] = w
	ts.work.Go(func() { defer close(w.ended); ts.watch(ctx, t) })
	return t, func() { ts.remove(t) }, nil
}

// watch closes the table in the end, and removes it before if it is deserted.
func (ts *tables) watch(ctx context.Context, t *netfilter.Table) {
	if err := t.Watch(ctx, ts.changed); ctx.Err() == nil {
		ts.failed("nftables", err)
	}
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errDeserted) {
		ts.failed("nftables", t.Remove())
	}
	ts.failed("nftables", t.Close())
}

// remove returns when the table is gone: the next one there has its name.
func (ts *tables) remove(t *netfilter.Table) {
	if w := ts.take(t); w != nil {
		w.stop(errDeserted)
		<-w.ended
	}
}

// take forgets a table; nil: its watch is over.
func (ts *tables) take(t *netfilter.Table) *tableWatch {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	w := ts.all[t]
	if w != nil {
		ts.gone += t.Health().Restored
		delete(ts.all, t)
	}
	return w
}

// hold lets changes be, while another daemon takes the tables over, or puts all in
// place again.
func (ts *tables) hold(on bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.all {
		ts.failed("nftables", t.Hold(on))
	}
}

// closeAll ends every watch and waits for it.
func (ts *tables) closeAll() {
	ts.mu.Lock()
	for _, w := range ts.all {
		w.stop(nil)
	}
	clear(ts.all)
	ts.mu.Unlock()
	ts.work.Wait()
}

// status is nil without a table.
func (ts *tables) status() *control.TableStatus {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.home == nil {
		return nil
	}
	s := &control.TableStatus{Name: ts.home.Health().Name, Intact: true, Restored: ts.gone}
	for t := range ts.all {
		h := t.Health()
		s.Restored += h.Restored
		s.Intact = s.Intact && h.Intact
		if h.Failed != nil {
			s.Error = h.Failed.Error()
		}
		if !h.Changed.IsZero() && (s.Changed == nil || h.Changed.After(*s.Changed)) {
			s.Changed = &h.Changed
		}
	}
	return s
}

// tableName is the one name of everything that a daemon makes in netfilter and
// routing. Two daemons that may run at once have two pin directories; one of those
// may be called filter, as tables of others are.
func tableName(pins string) string {
	name := filepath.Base(pins)
	if !strings.HasPrefix(name, tablePrefix) {
		name = tablePrefix + "-" + name
	}
	return name
}

// tablesPath is there as long as a table of ours may be.
func tablesPath(c *config.Config) string { return filepath.Join(c.RunDir, "tables") }

// openTable puts in place what the backend has in our own network namespace.
// The listeners are not tagged yet, so nothing is captured before it stands.
func (d *Daemon) openTable() error {
	d.tables.changed, d.tables.failed = d.recordTable, d.report
	if d.atStart.Capture.Backend == config.Rewrite {
		return d.removeStale()
	}
	if err := os.WriteFile(tablesPath(d.atStart), nil, 0o600); err != nil {
		return err
	}
	d.later(d.tables.closeAll)
	d.later(d.records.End) // a watch may wait for a trail that will not be opened
	t, _, err := d.tables.open(d.tableConfig(d.atStart))
	if errors.Is(err, netfilter.ErrUnsupported) {
		return &control.Error{Message: err.Error(), Tip: "load nf_tables, nft_chain_nat, nft_redir, nft_numgen, nft_tproxy, nft_reject_inet and nft_fib_inet, or use backend: rewrite"}
	}
	d.tables.home = t
	return err
}

// removeStale removes what a daemon with another backend left. Hosts that never
// had one are not asked: that alone would load nftables into their kernel.
func (d *Daemon) removeStale() error {
	if _, err := os.Stat(tablesPath(d.atStart)); err != nil {
		return nil
	}
	_, err := removeTables(d.pins())
	return errors.Join(err, removeIfThere(tablesPath(d.atStart)))
}

// tableConfig is what a configuration wants in our own network namespace.
func (d *Daemon) tableConfig(c *config.Config) netfilter.Config {
	out := netfilter.Config{Name: tableName(d.pins()), Mark: c.Capture.RedirectMark}
	if c.Capture.Backend == config.NFT {
		out.Local = d.redirects()
		return out
	}
	out.Guests = netfilter.Guests{Ports: c.Capture.Ports, FailOpen: c.Capture.FailOpen}
	for _, g := range c.Capture.Guests {
		out.Guests.From = append(out.Guests.From, netfilter.Guest{Source: g.Source, Interface: g.Interface})
	}
	for _, l := range d.guests.sockets {
		if a := addrOf(l); a.Addr().Is4() {
			out.Guests.IPv4 = a.Port()
		} else {
			out.Guests.IPv6 = a.Port()
		}
	}
	return out
}

// redirects are the ports of the listeners, which are the same everywhere.
func (d *Daemon) redirects() (to netfilter.Local) {
	for _, a := range d.listeners.addrs() {
		if a.Addr().Is4() {
			to.IPv4 = append(to.IPv4, a.Port())
		} else {
			to.IPv6 = append(to.IPv6, a.Port())
		}
	}
	return to
}

// changeTable follows a reload: guests and ports may be others.
func (d *Daemon) changeTable(c *config.Config) error {
	if d.tables.home == nil {
		return nil
	}
	return d.tables.home.Set(d.tableConfig(c))
}

// redirectIn puts the table in place in the network namespace of workloads, if
// the backend needs it there. leave takes it away.
func (d *Daemon) redirectIn(ns *os.File) (leave func(), err error) {
	c := d.atStart.Capture
	if c.Backend != config.NFT {
		return func() {}, nil
	}
	_, leave, err = d.tables.open(netfilter.Config{Name: tableName(d.pins()), Netns: ns, Mark: c.RedirectMark, Local: d.redirects()})
	return leave, err
}

// recordTable records that somebody else changed what is ours. Tables are watched
// before there is a trail, and while it is another's.
func (d *Daemon) recordTable(r netfilter.Restored) {
	d.report("nftables: "+r.What, r.Err)
	err := d.records.Append(&audit.Record{Kind: audit.KindAlert, Time: time.Now(), Reason: flow.ReasonTableChanged.String()})
	d.report("audit trail", err)
}

// redirectMark is the bit that the hooks set; 0 where they rewrite.
func redirectMark(c *config.Capture) uint32 {
	switch {
	case c.Backend != config.NFT:
		return 0
	case c.RedirectMark != 0:
		return c.RedirectMark
	}
	return netfilter.DefaultMark
}
