package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/trust"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// Options of a Daemon.
type Options struct {
	Config    string         // path of the configuration; "": config.DefaultPath
	Ephemeral bool           // serve `run` alone and leave with the last scope
	Version   string         // for status
	Log       *logrus.Logger // must be set
}

// Daemon is a running interceptor.
type Daemon struct {
	o     Options
	since time.Time
	undo  []func() // last first

	started bool // all steps of Start succeeded

	lock       *os.File
	leaves     leaves
	trust      *trust.Store
	trail      *audit.Log
	processes  *process.Resolver
	resolver   resolver
	capture    *capture.Capture
	listeners  listeners
	namespaces *namespaces
	upstreams  *upstream.Pool
	proxy      *proxy.Proxy
	scopes     *scopes
	control    *control.Server
	signing    *signing

	mu     sync.Mutex // guards what a reload changes
	loaded loaded
}

// loaded is the configuration in force.
type loaded struct {
	config   *config.Config
	warnings []string
	readings *readings // that went into the snapshot
	at       time.Time
	failed   error // of the newest reload, if that did not take effect
	secrets  error // a secret that can't be read any more
}

// Start brings a Daemon up to where it serves. On an error nothing stays behind
// that was not there before. Run it next.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	d := &Daemon{o: o, since: time.Now()}
	steps := []func(context.Context) error{
		d.loadConfig, d.takeLock, d.openAuthority, d.prepareTrust, d.openTrail,
		d.openUpstreams, d.buildProxy, d.listen, d.openCapture, d.openNamespaces, d.openScopes, d.openControl,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			d.unwind()
			return nil, err
		}
	}
	d.started = true
	return d, nil
}

// Run serves until ctx ends, or for an ephemeral daemon until its last scope is
// empty, and then stops in order. A hangup channel reloads at each value.
func (d *Daemon) Run(ctx context.Context, hangup <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	d.listeners.serve(func(l *net.TCPListener, netns uint64) { d.report("accept", d.proxy.Serve(l, netns)) })
	work.Go(d.listeners.wait)
	work.Go(func() { d.report("control socket", d.control.Serve()) })
	work.Go(func() { d.watchKernel(ctx) })
	work.Go(func() { d.namespaces.run(ctx) })
	work.Go(func() { d.watchSecrets(ctx) })
	work.Go(func() { newHeap(d.proxy.Shed).keep(ctx) })
	d.notify(sd.SdNotifyReady)
	d.o.Log.WithFields(logrus.Fields{"config": d.loaded.config.Files, "routes": len(d.loaded.config.Routes)}).Info("outwarden is ready")

	for stopping := false; !stopping; {
		select {
		case <-ctx.Done():
			stopping = true
		case <-d.scopes.lastLeft():
			stopping = d.scopes.leave()
		case <-hangup:
			d.reloadBySignal(ctx)
		}
	}
	d.notify(sd.SdNotifyStopping)
	cancel()
	d.unwind()
	work.Wait()
	return nil
}

// later remembers how to undo a step.
func (d *Daemon) later(f func()) { d.undo = append(d.undo, f) }

func (d *Daemon) unwind() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}

func (d *Daemon) report(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		d.o.Log.WithError(err).Error(what)
	}
}

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.o.Log.WithError(err).Warn("service manager")
	}
}

func (d *Daemon) loadConfig(context.Context) error {
	cfg, warnings, err := config.Load(d.o.Config)
	if err != nil {
		return err
	}
	d.loaded = loaded{config: cfg, warnings: texts(warnings), at: time.Now()}
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

// takeLock makes sure of being the only daemon of this run_dir.
func (d *Daemon) takeLock(ctx context.Context) error {
	cfg := d.loaded.config
	if err := MakeRunDir(cfg); err != nil {
		return err
	}
	if err := makeDir(cfg.StateDir, 0o700); err != nil {
		return err
	}
	lock, err := lockFile(ctx, lockPath(cfg))
	if err != nil {
		return err
	}
	d.lock = lock
	d.later(func() { _ = lock.Close() })
	return nil
}

func (d *Daemon) prepareTrust(context.Context) error {
	store, err := trust.Prepare(filepath.Join(d.loaded.config.RunDir, "trust"), d.leaves.get().RootPEM())
	if err != nil {
		return fmt.Errorf("prepare trust stores: %w", err)
	}
	d.trust = store
	return nil
}

func (d *Daemon) openControl(context.Context) error {
	s, err := control.Listen(SocketPath(d.loaded.config), d)
	if err != nil {
		return err
	}
	d.control = s
	d.later(func() { d.report("control socket", s.Close()) })
	return nil
}

// SocketPath is where the daemon of a configuration listens for control requests.
func SocketPath(c *config.Config) string { return filepath.Join(c.RunDir, "control.sock") }
