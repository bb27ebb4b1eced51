package snapshot

import (
	"os"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// renewal is a configuration in files, and what is in force of it.
type renewal struct {
	t                         *testing.T
	id, token, lone, crt, key string // paths
	config                    *config.Config
	readings                  *Readings
	now                       *proxy.Snapshot
}

// The routes of a renewal.
const (
	pair = iota // two secrets in one field
	lone
	mtls
)

func newRenewal(t *testing.T) *renewal {
	t.Helper()
	cert, key := identity(t)
	w := &renewal{
		t: t, id: write(t, "id", []byte("id-1")), token: write(t, "token", []byte("token-1")), lone: write(t, "lone", []byte("lone-1")),
		crt: write(t, "svid.pem", cert), key: write(t, "svid_key.pem", key),
	}
	w.config = &config.Config{
		Secrets: map[string]config.Source{"id": {File: w.id}, "token": {File: w.token}, "lone": {File: w.lone}},
		Routes:  make([]config.Route, 3),
	}
	w.config.Routes[pair].Inject = []config.Inject{{Form: config.Header, Field: "X-Key", Template: []config.Piece{{Secret: "id"}, {Secret: "token"}}}}
	w.config.Routes[lone].Inject = []config.Inject{{Form: config.Bearer, Secret: "lone"}}
	w.config.Routes[mtls].Upstream = config.Upstream{Certificate: config.Material{File: w.crt}, Key: config.Material{File: w.key}}
	w.readings = NewReadings(w.config)
	var err error
	if w.now, err = build(t, w.config, w.readings); err != nil {
		t.Fatal(err)
	}
	return w
}

// renew does what a daemon does at times, and returns what it would say.
func (w *renewal) renew() (changed bool, err error) {
	w.t.Helper()
	next, err := w.readings.Renew(w.t.Context())
	if next == nil {
		return false, err
	}
	snapshot, err := build(w.t, w.config, next)
	if err != nil {
		w.t.Fatal(err)
	}
	if !next.Renewed() {
		return false, next.Held()
	}
	w.readings, w.now = next, snapshot
	return true, next.Held()
}

// sends is what a route injects.
func (w *renewal) sends(route int) string {
	var all []string
	for _, i := range w.now.Plans[route].Inject.Injected() {
		all = append(all, string(i.Value.Reveal()))
	}
	return strings.Join(all, " ")
}

func (w *renewal) is(route int, want string) {
	w.t.Helper()
	if got := w.sends(route); got != want {
		w.t.Errorf("route %d sends %q, want %q", route, got, want)
	}
}

// leaf tells certificates apart, and the connections that are made with them.
func (w *renewal) leaf() string {
	p := w.now.Plans[mtls].Upstream
	return string(p.Certificate.Certificate[0]) + p.Version
}

func (w *renewal) must(wantChanged bool, why string) {
	w.t.Helper()
	changed, err := w.renew()
	if changed != wantChanged || (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
		w.t.Errorf("changed %v, %v; want %v, %q", changed, err, wantChanged, why)
	}
}

// A secret that is lost stays as it was, with what belongs to it, and keeps no other
// from being renewed.
func TestLostSecretHoldsNoOther(t *testing.T) {
	w := newRenewal(t)
	if err := os.Remove(w.token); err != nil {
		t.Fatal(err)
	}
	w.must(false, `"token"`)
	replace(t, w.lone, "lone-2")
	w.must(true, `"token"`)
	w.is(lone, "lone-2")
	replace(t, w.id, "id-2")
	w.must(false, `"token"`) // an id with the token of another is of no use
	w.is(pair, "id-1 token-1")
	replace(t, w.token, "token-2")
	w.must(true, "")
	w.is(pair, "id-2 token-2")
	w.must(false, "")
}

// A secret that can be read, but not used, is as good as lost.
func TestUnfitSecretHoldsNoOther(t *testing.T) {
	w := newRenewal(t)
	replace(t, w.token, "two\nlines\n")
	replace(t, w.lone, "lone-2")
	w.must(true, "control byte")
	w.is(lone, "lone-2")
	w.is(pair, "id-1 token-1")
	w.must(false, "control byte")
	replace(t, w.token, "token-2")
	w.must(true, "")
	w.is(pair, "id-1 token-2")
}

// A certificate and key in files, as spiffe-helper writes them one after the other,
// are taken together or not at all; other secrets do not wait for the second.
func TestHelperFilesRotate(t *testing.T) {
	w := newRenewal(t)
	before := w.leaf()
	cert, key := identity(t)
	replace(t, w.crt, string(cert))
	w.must(false, "private key does not match")
	replace(t, w.lone, "lone-2")
	w.must(true, "private key does not match")
	w.is(lone, "lone-2")
	if w.leaf() != before {
		t.Error("a certificate is used with the key of another")
	}
	replace(t, w.key, string(key))
	w.must(true, "")
	if w.leaf() == before {
		t.Error("after the rotation the old one is used")
	}
}

// Whoever may write the roots decides who is taken for the API: what one puts there is
// not in force. A key that all can read is none.
func TestFilesThatEveryoneMayTouch(t *testing.T) {
	w := newRenewal(t)
	before := w.leaf()
	cert, key := identity(t)
	replace(t, w.crt, string(cert))
	replace(t, w.key, string(key))
	for mode, path := range map[os.FileMode]string{0o666: w.crt, 0o644: w.key} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		w.must(false, "chmod")
		if _, err := build(t, w.config, NewReadings(w.config)); err == nil || !strings.Contains(err.Error(), "chmod") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s with mode %o: %v", path, mode, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.must(true, "")
	if w.leaf() == before {
		t.Error("closed again, they are not in force")
	}
}
