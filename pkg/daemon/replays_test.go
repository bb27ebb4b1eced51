package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
)

// TestReplaysOutliveAReload: the signatures that were seen stay known, since the
// journal is one for the daemon's life. Where no route refuses replays there is none.
func TestReplaysOutliveAReload(t *testing.T) {
	c := &config.Config{StateDir: t.TempDir(), Routes: []config.Route{{Sign: &config.Sign{}}}}
	d := newDaemon(Options{})
	defer d.closeReplays()
	remember := func(d *Daemon) error {
		t.Helper()
		err := d.rememberReplays(c)
		_, there := os.Stat(filepath.Join(c.StateDir, "replays.1"))
		if (there == nil) != c.Routes[0].Sign.RefuseReplays {
			t.Errorf("the journal: %v", there)
		}
		return err
	}
	if err := remember(d); err != nil || d.signing.Seen.Load() != nil {
		t.Errorf("no route refuses replays: %v", err)
	}
	c.Routes[0].Sign.RefuseReplays = true
	if err := remember(d); err != nil {
		t.Fatal(err)
	}
	seen := d.signing.Seen.Load()
	if err := remember(d); err != nil || seen == nil || d.signing.Seen.Load() != seen {
		t.Errorf("a reload forgets what was seen: %v", err)
	}
	if err := remember(newDaemon(Options{})); err == nil {
		t.Error("two daemons have one journal")
	}
}
