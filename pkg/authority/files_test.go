package authority

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fresh is a directory that does not exist yet.
func freshDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "authority") }

func open(t testing.TB, dir string, o Options) *Authority {
	t.Helper()
	a, err := Open(dir, o)
	must(t, err)
	return a
}

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Mode()
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		all[e.Name()] = string(b)
	}
	return all
}

// wantStateError checks kind, path and that there is advice, and that no key
// material is quoted.
func wantStateError(t testing.TB, err error, path, problem string) {
	t.Helper()
	var state *StateError
	if !errors.As(err, &state) {
		t.Fatalf("got %v, want a *StateError", err)
	}
	if state.Path != path || !strings.Contains(state.Problem, problem) || state.Hint() == "" {
		t.Errorf("got %q, hint %q; want %s: ...%s...", err, state.Hint(), path, problem)
	}
	if strings.Contains(err.Error()+state.Hint(), "BEGIN") {
		t.Errorf("the error quotes the file: %q", err)
	}
}

func TestFirstStartIsPrivateWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		dir := freshDir(t)
		must(t, os.Mkdir(filepath.Dir(dir), 0o700))
		old := syscall.Umask(mask)
		_, err := Open(dir, Options{})
		syscall.Umask(old)
		must(t, err)
		for name, want := range map[string]os.FileMode{"": os.ModeDir | 0o700, keyFile: 0o600, rootsFile: 0o600} {
			if got := mode(t, filepath.Join(dir, name)); got != want {
				t.Errorf("umask %03o: %q has mode %v, want %v", mask, name, got, want)
			}
		}
		if got := contents(t, dir); len(got) != 2 {
			t.Errorf("umask %03o: %d files, want 2", mask, len(got))
		}
	}
}

func TestReopenChangesNothing(t *testing.T) {
	dir := freshDir(t)
	o := Options{Permitted: []string{"api.example.com", "*.partner.example", "192.0.2.1"}}
	first := open(t, dir, o)
	before := contents(t, dir)
	second := open(t, dir, o)
	if !bytes.Equal(first.RootPEM(), second.RootPEM()) || first.Generation() != second.Generation() {
		t.Error("another root")
	}
	for name, was := range before {
		if now := contents(t, dir)[name]; now != was {
			t.Errorf("%s was written again", name)
		}
	}
}

func TestFirstStartOfManyAtOnceMakesOneRoot(t *testing.T) {
	dir := freshDir(t)
	var roots sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a, err := Open(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			roots.Store(string(a.RootPEM()), true)
		})
	}
	all.Wait()
	n := 0
	roots.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d roots", n)
	}
}

func TestSymbolicLinksAreRefused(t *testing.T) {
	elsewhere := freshDir(t)
	open(t, elsewhere, Options{})
	before := contents(t, elsewhere)

	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(elsewhere, link))
	_, err := Open(link, Options{})
	wantStateError(t, err, link, "not a directory")

	for _, name := range []string{keyFile, rootsFile} {
		for _, target := range []string{filepath.Join(elsewhere, name), filepath.Join(elsewhere, "nothing")} {
			dir := freshDir(t)
			must(t, os.MkdirAll(dir, 0o700))
			must(t, os.Symlink(target, filepath.Join(dir, name)))
			_, err := Open(dir, Options{})
			wantStateError(t, err, filepath.Join(dir, name), "symbolic link")
		}
	}
	after := contents(t, elsewhere)
	if len(after) != len(before) || after[keyFile] != before[keyFile] {
		t.Error("something was written through a link")
	}
}

func TestOthersMustBeKeptOut(t *testing.T) {
	for name, bits := range map[string]os.FileMode{"": 0o750, keyFile: 0o640, rootsFile: 0o604} {
		dir := freshDir(t)
		open(t, dir, Options{})
		path := filepath.Join(dir, name)
		must(t, os.Chmod(path, bits))
		_, err := Open(dir, Options{})
		wantStateError(t, err, filepath.Clean(path), "lets others in")
		if mode(t, path).Perm() != bits {
			t.Errorf("%s: the mode was mended silently", path)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	dir := freshDir(t)
	open(t, dir, Options{})
	must(t, os.Chown(filepath.Join(dir, keyFile), 65534, 0))
	_, err := Open(dir, Options{})
	wantStateError(t, err, filepath.Join(dir, keyFile), "belongs to uid 65534")
}

func TestDamageIsAnErrorAndNeverANewAuthority(t *testing.T) {
	other := freshDir(t)
	open(t, other, Options{})
	stranger := contents(t, other)[keyFile]
	keyOf := func(s string) string { return s[:strings.Index(s, "-----BEGIN CERT")] }
	certOf := func(s string) string { return s[strings.Index(s, "-----BEGIN CERT"):] }
	for name, c := range map[string]struct {
		file    string
		change  func(string) string
		problem string
	}{
		"empty":            {keyFile, func(string) string { return "" }, "no private key"},
		"cut in the key":   {keyFile, func(s string) string { return s[:60] }, "no private key"},
		"cert only":        {keyFile, certOf, "no private key"},
		"key only":         {keyFile, keyOf, "no root certificate"},
		"cut in the cert":  {keyFile, func(s string) string { return s[:len(s)-60] }, "no root certificate"},
		"another's cert":   {keyFile, func(s string) string { return keyOf(s) + certOf(stranger) }, "do not belong together"},
		"two certs":        {keyFile, func(s string) string { return s + certOf(s) }, "something after"},
		"bad key bytes":    {keyFile, func(s string) string { return strings.Replace(s, "MIG", "AAA", 1) }, "private key is damaged"},
		"roots are noise":  {rootsFile, func(string) string { return "noise" }, "damaged"},
		"roots are empty":  {rootsFile, func(string) string { return "" }, "damaged"},
		"roots are cut":    {rootsFile, func(s string) string { return s[:len(s)-40] }, "damaged"},
		"roots hold a key": {rootsFile, func(string) string { return keyOf(stranger) }, "damaged"},
	} {
		dir := freshDir(t)
		open(t, dir, Options{})
		path := filepath.Join(dir, c.file)
		changed := c.change(contents(t, dir)[c.file])
		must(t, os.WriteFile(path, []byte(changed), 0o600))
		t.Run(name, func(t *testing.T) {
			_, err := Open(dir, Options{})
			wantStateError(t, err, path, c.problem)
			if contents(t, dir)[c.file] != changed {
				t.Error("the file was changed")
			}
		})
	}
}

func TestMissingKeyIsAnErrorWhereThereWasOne(t *testing.T) {
	dir := freshDir(t)
	open(t, dir, Options{})
	must(t, os.Remove(filepath.Join(dir, keyFile)))
	_, err := Open(dir, Options{})
	wantStateError(t, err, filepath.Join(dir, keyFile), "missing")
}

func TestStoppedBetweenTheTwoFilesOfTheFirstStart(t *testing.T) {
	dir := freshDir(t)
	a := open(t, dir, Options{})
	must(t, os.Remove(filepath.Join(dir, rootsFile)))
	b := open(t, dir, Options{})
	if a.Generation() != b.Generation() || len(contents(t, dir)) != 2 {
		t.Error("the authority was not completed")
	}
}

func TestClockAndExpiry(t *testing.T) {
	dir := freshDir(t)
	path := filepath.Join(dir, keyFile)
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) Options { return Options{Clock: func() time.Time { return begin.Add(d) }} }
	first := open(t, dir, at(0))

	_, err := Open(dir, at(-rootBackdate-time.Hour))
	wantStateError(t, err, path, "not valid before")
	_, err = Open(dir, at(rootLife+time.Second))
	wantStateError(t, err, path, "expired")

	if got := open(t, dir, at(rootLife-rootRenew-time.Hour)); !got.Root().Equal(first.Root()) {
		t.Error("renewed too early")
	}
	o := at(rootLife + time.Second)
	o.RenewExpired = true
	renewed := open(t, dir, o)
	if renewed.Root().Equal(first.Root()) || renewed.Generation() != first.Generation() {
		t.Error("renewal must issue another certificate for the same key")
	}
	if got := renewed.Root().NotAfter; !got.Equal(begin.Add(2*rootLife + time.Second)) {
		t.Errorf("renewed until %v", got)
	}
	soon := open(t, freshDir(t), at(0))
	soon.o.Clock = at(rootLife - rootRenew + time.Second).Clock
	before := soon.Root()
	_, err = soon.Certificate("a.example") // a daemon that runs for a year renews by itself
	must(t, err)
	if soon.Root().Equal(before) || !bytes.Equal(soon.Root().RawSubject, before.RawSubject) {
		t.Error("not renewed with the same subject")
	}
}

// A clock that took local time for UTC at the first start does not make a root that is
// not valid yet once it is right.
func TestClockPutRight(t *testing.T) {
	dir := freshDir(t)
	begin := time.Now().Add(14 * time.Hour)
	open(t, dir, Options{Clock: func() time.Time { return begin }})
	a := open(t, dir, Options{})
	leaf, err := a.Certificate("a.example")
	must(t, err)
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool(a.Root())}); err != nil {
		t.Error(err)
	}
}

// The key that somebody has put back beside a daemon is not written over by the one
// that this has in memory.
func TestRenewalLeavesAnotherKey(t *testing.T) {
	dir := freshDir(t)
	var passed time.Duration
	a := open(t, dir, Options{Clock: func() time.Time { return time.Now().Add(passed) }})
	if err := a.Renew(); err != nil || !a.Root().Equal(open(t, dir, Options{}).Root()) {
		t.Fatalf("renewed before it is due, or: %v", err)
	}
	_, err := Rotate(dir, Options{})
	must(t, err)
	want := contents(t, dir)[keyFile]
	passed = rootLife - time.Hour
	wantStateError(t, a.Renew(), filepath.Join(dir, keyFile), "has another key")
	if _, err := a.Certificate("a.example"); err != nil {
		t.Errorf("mint with what is left of the root: %v", err)
	}
	if contents(t, dir)[keyFile] != want {
		t.Error("the other key is gone")
	}
}

func FuzzDecodeRoot(f *testing.F) {
	dir := freshDir(f)
	open(f, dir, Options{Permitted: []string{"a.example"}})
	f.Add([]byte(contents(f, dir)[keyFile]))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err == nil && (r.key == nil || !r.key.public().Equal(r.cert.PublicKey)) {
			t.Error("took a root that does not fit its key")
		}
	})
}
