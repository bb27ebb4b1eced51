package authority

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestInspect(t *testing.T) {
	for name, c := range map[string]struct{ permitted, want []string }{
		"any name":  {nil, nil},
		"none":      {[]string{}, []string{}},
		"star":      {[]string{"a.example", "*"}, nil},
		"all kinds": {[]string{"192.0.2.0/24", "*.b.example", "a.example", "2001:db8::1"}, []string{"a.example", "b.example", "192.0.2.0/24", "2001:db8::1/128"}},
	} {
		dir := freshDir(t)
		a := open(t, dir, Options{Permitted: c.permitted})
		must(t, a.Rotate())
		got, err := Inspect(dir)
		must(t, err)
		if !slices.Equal(got.Permitted, c.want) || (got.Permitted == nil) != (c.want == nil) {
			t.Errorf("%s: permitted %q, want %q", name, got.Permitted, c.want)
		}
		if !got.Root.Equal(a.Root()) || string(got.PEM) != string(a.RootPEM()) || got.Earlier != 1 || got.InTPM || got.KeyFile != filepath.Join(dir, keyFile) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	device, _ := simulator(t, t.TempDir())
	dir := freshDir(t)
	open(t, dir, Options{TPM: device})
	if got, err := Inspect(dir); err != nil || !got.InTPM {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoAuthorityIsMadeByLooking(t *testing.T) {
	dir := freshDir(t)
	for name, f := range map[string]func() error{
		"Inspect": func() error { _, err := Inspect(dir); return err },
		"Rotate":  func() error { _, err := Rotate(dir, Options{}); return err },
	} {
		if err := f(); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if removed, err := Remove(dir); err != nil || len(removed) != 0 {
		t.Errorf("removed %q, %v", removed, err)
	}
	if _, err := os.Lstat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	must(t, os.MkdirAll(dir, 0o700))
	if _, err := Rotate(dir, Options{}); !errors.Is(err, ErrNone) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Inspect(dir); !errors.Is(err, ErrNone) {
		t.Errorf("empty directory: %v", err)
	}
}

// Rotate is the way on where the key is lost, as long as its root is known.
func TestRotateWithoutTheOldKey(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"lost":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("noise"), 0o600) },
	} {
		dir := freshDir(t)
		old := open(t, dir, Options{})
		must(t, spoil(filepath.Join(dir, keyFile)))
		a, err := Rotate(dir, Options{})
		must(t, err)
		if !a.Issued([]*x509.Certificate{old.Root()}) {
			t.Errorf("%s: the root before is forgotten", name)
		}
		open(t, dir, Options{})
	}
	dir := freshDir(t)
	open(t, dir, Options{})
	must(t, os.Remove(filepath.Join(dir, rootsFile)))
	must(t, os.WriteFile(filepath.Join(dir, keyFile), []byte("noise"), 0o600))
	_, err := Rotate(dir, Options{})
	wantStateError(t, err, filepath.Join(dir, keyFile), "no private key")
}

func TestRemoveLeavesNothing(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	for name, o := range map[string]Options{"file": {}, "TPM": {TPM: device}} {
		dir := freshDir(t)
		a := open(t, dir, o)
		must(t, a.Rotate())
		must(t, os.WriteFile(filepath.Join(dir, "."+keyFile+".CUTSHORT"), []byte("half a key"), 0o600))
		must(t, os.Chmod(dir, 0o755)) // however it looks by now
		removed, err := Remove(dir)
		must(t, err)
		if len(removed) != 4 || !strings.Contains(removed[0], keyFile) || removed[3] != dir {
			t.Errorf("%s: removed %q", name, removed)
		}
		if left := contents(t, filepath.Dir(dir)); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
		if b := open(t, dir, o); b.Generation() == a.Generation() {
			t.Errorf("%s: the key is still there", name)
		}
	}
	if n := occupied(t, device); n != 0 {
		t.Errorf("%d keys are left in the TPM", n)
	}
}

func TestRemoveTakesOnlyItsOwn(t *testing.T) {
	dir := freshDir(t)
	open(t, dir, Options{})
	must(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	_, err := Remove(dir)
	wantStateError(t, err, dir, "mine")
	if left := contents(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}

	elsewhere, link := freshDir(t), filepath.Join(t.TempDir(), "link")
	open(t, elsewhere, Options{})
	must(t, os.Symlink(elsewhere, link))
	_, err = Remove(link)
	wantStateError(t, err, link, "not a directory")
	if len(contents(t, elsewhere)) != 2 {
		t.Error("removed through a symbolic link")
	}
}

// A write that is cut short leaves a key under a temporary name.
func TestWhatACrashLeftIsSwept(t *testing.T) {
	dir := freshDir(t)
	open(t, dir, Options{})
	for _, name := range []string{"." + keyFile + ".X", "." + rootsFile + ".Y", "other"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	open(t, dir, Options{})
	if left := contents(t, dir); len(left) != 3 {
		t.Errorf("left %v", left)
	}
}

// Whatever is done to an authority, under whatever umask: the whole tree is ours
// alone and no file has a second name.
func TestEverythingIsPrivateAlways(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	for _, mask := range []int{0, 0o022, 0o777} {
		dir := freshDir(t)
		must(t, os.Mkdir(filepath.Dir(dir), 0o700))
		old := syscall.Umask(mask)
		err := everything(dir, device)
		syscall.Umask(old)
		must(t, err)
		must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			must(t, err)
			st := info.Sys().(*syscall.Stat_t)
			want, links := os.FileMode(0o600), uint64(1)
			if info.IsDir() {
				want, links = os.ModeDir|0o700, uint64(st.Nlink)
			}
			if info.Mode() != want || int(st.Uid) != os.Geteuid() || uint64(st.Nlink) != links {
				t.Errorf("umask %03o: %s has mode %v, owner %d, %d names", mask, path, info.Mode(), st.Uid, st.Nlink)
			}
			return nil
		}))
	}
}

func everything(dir, device string) error {
	a, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	if err := a.Rotate(); err != nil {
		return err
	}
	if _, err := Open(dir, Options{Permitted: []string{"a.example"}}); err != nil {
		return err
	}
	_, err = Rotate(dir, Options{TPM: device})
	return err
}
