package daemon

import (
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/handover"
)

// The trail is waited for while a daemon before us may be about to end, and by
// nobody else.
func TestTakeTrail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	held, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(Daemon).takeTrail(dir, audit.Options{}); err == nil {
		t.Error("two have it")
	}
	d := &Daemon{predecessor: &handover.Predecessor{}}
	closed := make(chan error, 1)
	go func() { closed <- held.Close() }()
	got, err := d.takeTrail(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
}
