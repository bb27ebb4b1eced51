package daemon

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netfilter"
	"github.com/outwarden/outwarden/pkg/replay"
)

// quiet is a daemon that has read a configuration and done nothing more.
func quiet(t *testing.T) *Daemon {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	text := "state_dir: " + dir + "/state\nrun_dir: " + dir + "/run\ncapture: {backend: nft}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	d := newDaemon(Options{Config: path, Log: log})
	if err := d.loadConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBesideReload: what namespaces, tables, successors and a daemon that drains ask
// of us may be asked while a reload changes the configuration. The race detector
// sees whether they read what it writes.
func TestBesideReload(t *testing.T) {
	d := quiet(t)
	if err := os.MkdirAll(d.loaded.config.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer d.closeReplays()
	next := *d.loaded.config
	next.Routes = []config.Route{{Sign: &config.Sign{RefuseReplays: true}}}
	var work sync.WaitGroup
	work.Go(func() {
		d.changing.Lock()
		defer d.changing.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.loaded = loaded{config: &next}
		if err := d.rememberReplays(&next); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.terms(); err != nil {
		t.Error(err)
	}
	if got := d.pins(); got == "" {
		t.Error("no pins")
	}
	d.listeners.add(&set{})
	nowhere, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	if _, err := d.redirectIn(nowhere); err == nil {
		t.Error("a table stands in no namespace")
	}
	if err := (keeper{&d.records, d}).Accept(replay.Message{KeyID: "k"}, time.Time{}, time.Now()); err != nil && !errors.Is(err, replay.ErrStale) {
		t.Error(err)
	}
	work.Wait()
}

// TestTableChangedMeanwhile: that somebody changed our table is recorded, also where
// the trail is closed for a successor at that moment, and taken up again.
func TestTableChangedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quiet(t)
		if err := d.beginTrail(); err != nil {
			t.Fatal(err)
		}
		d.records.Hold()
		if err := d.trail.Close(); err != nil {
			t.Fatal(err)
		}
		go d.recordTable(netfilter.Restored{What: "the table was flushed"})
		synctest.Wait()
		if err := d.beginTrail(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := d.trail.Close(); err != nil {
			t.Fatal(err)
		}
		found := 0
		for r, err := range audit.Read(trailDir(d.loaded.config), audit.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Reason == flow.ReasonTableChanged.String() {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d alerts, want 1", found)
		}
	})
}

// TestOutlive: a process that can't be waited for is not looked for all the time.
func TestOutlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, err := os.Create(filepath.Join(t.TempDir(), "no pidfd"))
		if err != nil {
			t.Fatal(err)
		}
		var logged error
		n := &namespaces{log: func(_ string, err error) { logged = err }}
		began := time.Now()
		if !n.outlive(t.Context(), file) || logged == nil {
			t.Errorf("logged %v", logged)
		}
		if got := time.Since(began); got != retryAfter {
			t.Errorf("looked at again after %v, want %v", got, retryAfter)
		}
	})
}
