package daemon

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/handover"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/snapshot"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// Options of a Daemon.
type Options struct {
	Config    string         // path of the configuration; "": config.DefaultPath
	Ephemeral bool           // serve `run` alone and leave with the last scope
	Takeover  bool           // take over from the daemon that runs, if one does
	Successor []string       // the command that starts the daemon after us; empty: Upgrade is refused
	Version   string         // for status
	Log       *logrus.Logger // must be set
}

// Daemon is a running interceptor.
type Daemon struct {
	o     Options
	since time.Time
	undo  []func() // last first

	existing *existing

	started    bool // all steps of Start succeeded
	firstStart bool // there was no authority before

	atStart *config.Config // what takes a restart to change is read here, without mu

	inherited   handover.Inherited    // what a daemon before us left
	predecessor *handover.Predecessor // whom we relieve; nil: there was none
	lock        *os.File
	leaves      leaves
	spread      []byte // the root that workloads find; guarded by changing
	unspread    bool   // the newest try to renew it failed
	processes   *process.Resolver
	resolver    resolver
	host        hostRoots
	capture     *capture.Capture
	pinned      bool // there were hooks before ours
	listeners   listeners
	tables      tables
	guests      set           // transparent listeners of backend tproxy
	guestFlows  atomic.Uint64 // given out
	namespaces  *namespaces
	upstreams   *upstream.Pool
	proxy       *proxy.Proxy
	records     handover.Records // where the proxy's go
	defects     defects
	signing     *snapshot.Signing
	duties

	door       *handover.Door           // successors come here; nil: none can
	successors chan *handover.Successor // who wants to relieve us
	relieved   bool                     // one has
	heir       *handover.Successor      // that one
	heirs      chan *handover.Successor // the same, for Upgrade
	upgrading  sync.Mutex               // held while Upgrade waits
	stored     bool                     // the service manager keeps our sockets

	fault  atomic.Pointer[string] // what is wrong with the hooks
	unseen chan struct{}          // holds a value when a connection has told that something is

	changing sync.Mutex // held while something changes what is loaded, or leaves it to another; taken before mu
	leaving  bool       // our duties are another's: nothing may be reloaded; guarded by changing

	mu            sync.Mutex // guards what status tells; nobody waits for anything with it
	loaded        loaded     // written with changing held too
	handoverError error      // of the newest attempt
}

// loaded is the configuration in force.
type loaded struct {
	config   *config.Config
	warnings []string
	readings *snapshot.Readings // that went into the proxy's snapshot
	at       time.Time
	failed   error // of the newest reload, if that did not take effect
	secrets  error // a secret that can't be read any more
}

func newDaemon(o Options) *Daemon {
	return &Daemon{
		o: o, since: time.Now(), existing: newExisting(), signing: snapshot.NewSigning(), unseen: make(chan struct{}, 1),
		successors: make(chan *handover.Successor), heirs: make(chan *handover.Successor),
	}
}

// Start brings a Daemon up to where it serves. On an error nothing stays behind
// that was not there before, and a daemon that it was to relieve goes on. Run it
// next.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	d := newDaemon(o)
	starter := handover.TakeStarter()
	defer starter.Close()
	steps := []func(context.Context) error{
		d.loadConfig, d.inherit, d.takeLock, d.openAuthority, d.prepareTrust, d.openUpstreams, d.buildProxy, d.listenGuests, d.openListeners,
		d.openNamespaces, d.relieve, d.openTrail, d.openReplays, d.openScopes, d.openControl, d.openHandover, d.confirm,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			d.apologize(err)
			d.unwind()
			starter.Tell(err)
			return nil, err
		}
	}
	d.started = true
	d.later(d.drain)
	return d, nil
}

// Run serves until ctx ends, or a successor has taken over, or for an ephemeral
// daemon until its last scope is empty, and then stops in order. A hangup channel
// reloads at each value.
func (d *Daemon) Run(ctx context.Context, hangup <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	d.listeners.serve(func(l *net.TCPListener, s *set) { d.report("accept", d.proxy.Serve(l, s.netns, s.gone())) })
	work.Go(d.listeners.wait)
	for _, l := range d.guests.sockets {
		work.Go(func() { d.report("accept guests", d.proxy.Serve(l, guestNetns, d.guests.gone())) })
	}
	work.Go(func() { d.watchSecrets(ctx) })
	work.Go(func() { newHeap(d.proxy.Shed).keep(ctx) })
	work.Go(func() { d.awaitSuccessors(ctx) })
	if d.predecessor != nil {
		work.Go(d.answer)
	}
	d.watch()
	d.store()
	d.notify(sd.SdNotifyReady)
	d.o.Log.WithFields(logrus.Fields{"config": d.atStart.Files, "routes": len(d.atStart.Routes)}).Info("outwarden is ready")
	err := d.serve(ctx, hangup)
	if !d.relieved {
		d.notify(sd.SdNotifyStopping)
	}
	cancel()
	d.unwind()
	if d.heir != nil {
		d.heir.Close()
	}
	work.Wait()
	return err
}

// serve does what comes until there is a reason to stop.
func (d *Daemon) serve(ctx context.Context, hangup <-chan os.Signal) error {
	alive, stop := watchdog()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.scopes.lastLeft():
			if d.scopes.leave() {
				return nil
			}
		case <-hangup:
			d.reloadBySignal(ctx)
		case s := <-d.successors:
			relieved, err := d.handOver(s)
			if relieved || err != nil {
				return err
			}
		case <-alive:
			d.notify(sd.SdNotifyWatchdog)
		}
	}
}

// later remembers how to undo a step.
func (d *Daemon) later(f func()) { d.undo = append(d.undo, f) }

func (d *Daemon) unwind() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}

func (d *Daemon) loadConfig(context.Context) error {
	cfg, warnings, err := config.Load(d.o.Config)
	if err != nil {
		return err
	}
	d.atStart, d.loaded = cfg, loaded{config: cfg, warnings: texts(warnings), at: time.Now()}
	d.existing.resets.Store(cfg.Capture.Reset)
	for _, w := range warnings {
		d.o.Log.Warn(w.String())
	}
	return nil
}

func texts(warnings []config.Warning) []string {
	out := make([]string, len(warnings))
	for i, w := range warnings {
		out[i] = w.String()
	}
	return out
}

// takeLock makes sure of being the only daemon of this run_dir, beside the one
// that hands its lock over.
func (d *Daemon) takeLock(ctx context.Context) error {
	cfg := d.atStart
	if err := MakeRunDir(cfg); err != nil {
		return err
	}
	if err := makeDir(cfg.StateDir, 0o700); err != nil {
		return err
	}
	var err error
	if d.lock = d.inherited.TakeLock(); d.lock == nil {
		d.lock, err = lockFile(ctx, lockPath(cfg))
	}
	if err != nil {
		return err
	}
	d.later(func() { _ = d.lock.Close() })
	return nil
}

func (d *Daemon) prepareTrust(context.Context) error { return d.spreadRoot() }
