package vault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenFilesAreRefused(t *testing.T) {
	for mode, ok := range map[os.FileMode]bool{
		0o600: true, 0o400: true, 0o640: true, 0o440: true, 0o700: true,
		0o644: false, 0o604: false, 0o602: false, 0o601: false, 0o660: false, 0o666: false, 0o777: false,
	} {
		v, path := one(t)
		write(t, path, "abc")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := v.Get(t.Context(), "token")
		if os.Geteuid() != 0 && mode&0o400 == 0 {
			continue
		}
		if ok != (err == nil) || !ok && (!errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 0600 "+path)) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestForeignOwnerIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("OUTWARDEN_TEST_ROOT") == "1" {
			t.Fatal("not root")
		}
		t.Skip("needs root to give a file away")
	}
	v, path := one(t)
	write(t, path, "abc")
	if err := os.Chown(path, 65534, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Get(t.Context(), "token"); !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("%v", err)
	}
}

func TestOddFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, large, strings.Repeat("x", MaxSize+1))
	for path, want := range map[string]string{
		pipe: "not a regular file", dir: "not a regular file", large: ErrTooLarge.Error(),
		filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := (File{path}).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	write(t, large, strings.Repeat("x", MaxSize))
	if v, err := (File{large}).Fetch(t.Context()); err != nil || v.Len() != MaxSize {
		t.Errorf("largest file: %d, %v", v.Len(), err)
	}
}

// TestPublicFilesAreNotHeldToTheRulesOfSecrets: others may read them, and a group
// write them, but what is no regular file is refused here too.
func TestPublicFilesAreNotHeldToTheRulesOfSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roots.pem")
	write(t, path, "abc\n")
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if value, version, err := Remember(Public{path}).Get(t.Context()); err != nil || string(value.Reveal()) != "abc" || version == "" {
		t.Errorf("%q %q %v", value.Reveal(), version, err)
	}
	if _, _, err := Remember(File{path}).Get(t.Context()); !errors.Is(err, ErrExposed) {
		t.Errorf("as a secret: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (Public{pipe}).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
}

// Whoever may write roots decides who is taken for the API, and who may read a key is
// taken for us.
func TestFilesThatEveryoneMayTouch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.pem")
	write(t, path, "abc\n")
	for _, c := range []struct {
		mode   os.FileMode
		source Source
		want   error
	}{
		{0o644, Public{path}, nil}, {0o666, Public{path}, ErrOpen}, {0o602, Public{path}, ErrOpen},
		{0o600, Key{path}, nil}, {0o660, Key{path}, nil}, {0o644, Key{path}, ErrExposed}, {0o602, Key{path}, ErrExposed}, {0o601, Key{path}, ErrExposed},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := Remember(c.source).Get(t.Context())
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), "chmod o") {
			t.Errorf("%T with mode %o: %v, want %v", c.source, c.mode, err, c.want)
		}
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 65534, 65534)); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	if _, _, err := Remember(Key{path}).Get(t.Context()); err != nil {
		t.Errorf("a helper's key: %v", err)
	}
}

// Who may write to the directory of a secret, and to nothing else, cannot have another
// file of root's sent by a link to it.
func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make links of others")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("target"), "abc\n")
	if err := os.Mkdir(path("real"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path("real/token"), "def\n")
	for link, to := range map[string]string{
		"ours": "target", "absolute": path("target"), "chain": "ours", "up": "real/../target", "..data": "real", "mounted": "..data/token",
		"theirs": path("target"), "over": "theirs", "theirdir": "real", "loop": "loop", "dangling": "nowhere",
	} {
		if err := os.Symlink(to, path(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"theirs", "theirdir"} {
		if err := os.Lchown(path(link), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := descriptors()
	for name, want := range map[string]string{
		"target": "abc", "ours": "abc", "absolute": "abc", "chain": "abc", "up": "abc", "mounted": "def", "..data/token": "def", "real//token": "def",
	} {
		if v, err := (File{path(name)}).Fetch(t.Context()); err != nil || string(v.Reveal()) != want {
			t.Errorf("%s: %q, %v", name, v.Reveal(), err)
		}
	}
	for name, want := range map[string]error{
		"theirs": ErrForeignLink, "over": ErrForeignLink, "theirdir/token": ErrForeignLink,
		"loop": unix.ELOOP, "dangling": os.ErrNotExist, "none": os.ErrNotExist, "target/x": unix.ENOTDIR,
	} {
		if v, err := (File{path(name)}).Fetch(t.Context()); !errors.Is(err, want) || !strings.Contains(err.Error(), path(name)) {
			t.Errorf("%s: %q, %v, want %v", name, v.Reveal(), err, want)
		}
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors are left open", after-before)
	}
	if _, err := (Public{path("theirs")}).Fetch(t.Context()); err != nil {
		t.Errorf("what is no secret, by a helper's link: %v", err)
	}
	t.Chdir(dir)
	if v, err := (File{"ours"}).Fetch(t.Context()); err != nil || string(v.Reveal()) != "abc" {
		t.Errorf("a relative path: %q, %v", v.Reveal(), err)
	}
}
