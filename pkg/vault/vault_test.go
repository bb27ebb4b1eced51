package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/secret"
)

// write puts content into a file of mode 0600 and gives it a modification time.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, v *Vault, name string) (string, string) {
	t.Helper()
	value, version, err := v.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(value.Reveal()), version
}

func one(t *testing.T) (v *Vault, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "token")
	return New(map[string]Source{"token": File{path}}), path
}

func TestOneLineEndIsCut(t *testing.T) {
	for content, want := range map[string]string{
		"abc": "abc", "abc\n": "abc", "abc\n\n": "abc\n", "abc\r\n": "abc", "abc\r": "abc\r", "\nabc\n": "\nabc",
		"abc\n\r\n": "abc\n", " abc ": " abc ", "\x00\xff\n": "\x00\xff",
	} {
		v, path := one(t)
		write(t, path, content)
		if got, _ := get(t, v, "token"); got != want {
			t.Errorf("%q reads as %q, want %q", content, got, want)
		}
	}
}

func TestEmptyIsRefused(t *testing.T) {
	for _, content := range []string{"", "\n", "\r\n"} {
		v, path := one(t)
		write(t, path, content)
		if _, _, err := v.Get(t.Context(), "token"); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestUnknownName(t *testing.T) {
	if _, _, err := New(nil).Get(t.Context(), "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// TestChangesShow: however a file comes by other bytes, the next Get has them and
// another version; also where time stamps and sizes are alike.
func TestChangesShow(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	changes := map[string]func(t *testing.T, path, content string){
		"in place": write,
		"in place, time put back": func(t *testing.T, path, content string) {
			write(t, path, content)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		},
		"renamed over": func(t *testing.T, path, content string) {
			write(t, path+".new", content)
			if err := os.Chtimes(path+".new", at, at); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"link moved": func(t *testing.T, path, content string) {
			target := filepath.Join(t.TempDir(), "target")
			write(t, target, content)
			_ = os.Remove(path)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			v, path := one(t)
			versions := map[string]string{}
			for i := range 30 {
				content := fmt.Sprintf("secret-%02d", i)
				change(t, path, content)
				got, version := get(t, v, "token")
				if got != content {
					t.Fatalf("reads %q, want %q", got, content)
				}
				if before, ok := versions[version]; ok {
					t.Fatalf("%q and %q have version %s", before, content, version)
				}
				versions[version] = content
				if again, same := get(t, v, "token"); again != content || same != version {
					t.Fatalf("unchanged, but %q %s", again, same)
				}
			}
		})
	}
}

// TestTouchKeepsVersion: pools need not be given up where no byte changed.
func TestTouchKeepsVersion(t *testing.T) {
	v, path := one(t)
	write(t, path, "abc")
	_, before := get(t, v, "token")
	if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, after := get(t, v, "token"); got != "abc" || after != before {
		t.Errorf("%q %s, was %s", got, after, before)
	}
}

// TestVersionTellsNothing: it is the same for files that differ in bytes alone and
// survives a restart.
func TestVersionTellsNothing(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := Stamp{dev: 1, inode: 2, size: 3, mtime: at.UnixNano(), ctime: at.UnixNano()}
	if got := s.version(); !strings.HasPrefix(got, "20260102T030405Z-") || len(got) != len("20260102T030405Z-abcdef") {
		t.Errorf("version %q", got)
	}
	v, path := one(t)
	write(t, path, "abc")
	_, first := get(t, v, "token")
	_, second := get(t, New(map[string]Source{"token": File{path}}), "token")
	if first != second {
		t.Errorf("after a restart %s, before %s", second, first)
	}
}

// TestErrorsForgetTheOldValue: what can't be read is not used.
func TestErrorsForgetTheOldValue(t *testing.T) {
	v, path := one(t)
	write(t, path, "canary-1234")
	get(t, v, "token")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	value, version, err := v.Get(t.Context(), "token")
	if !errors.Is(err, ErrExposed) || !value.IsZero() || version != "" {
		t.Errorf("%v %q %v", value.IsZero(), version, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", v.entries["token"], v.entries["token"], err), "canary") {
		t.Error("the vault prints its secret")
	}
}

func TestSettledFilesAreNotReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "abc")
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	changed := time.Unix(0, st.Ctim.Nano())
	if stampOf(&st, changed.Add(settle)).settled || !stampOf(&st, changed.Add(settle+1)).settled {
		t.Error("a stamp is settled once it is older than the step of the clock")
	}
	counted := &counting{File: File{path}}
	v := New(map[string]Source{"token": counted})
	for range 5 {
		get(t, v, "token")
	}
	if counted.reads != 1 {
		t.Errorf("%d readings of an unchanged file", counted.reads)
	}
}

// counting is a file whose stamps are all settled.
type counting struct {
	File
	reads int
}

func (c *counting) FetchStamped(ctx context.Context) (secret.Value, Stamp, error) {
	c.reads++
	v, s, err := c.File.FetchStamped(ctx)
	s.settled = true
	return v, s, err
}

// plain is a source without stamps.
type plain struct{ value string }

func (p *plain) Fetch(context.Context) (secret.Value, error) { return secret.New([]byte(p.value)), nil }

func TestSourceWithoutStamps(t *testing.T) {
	p := &plain{"a"}
	v := New(map[string]Source{"p": p})
	_, first := get(t, v, "p")
	_, same := get(t, v, "p")
	p.value = "b"
	got, second := get(t, v, "p")
	if got != "b" || first != same || second == first {
		t.Errorf("%q: versions %q %q %q", got, first, same, second)
	}
}

func TestConcurrentGets(t *testing.T) {
	v, path := one(t)
	write(t, path, "0")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if value, _, err := v.Get(context.Background(), "token"); err != nil || value.Len() != 1 {
					t.Errorf("%d bytes, %v", value.Len(), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		write(t, path+".new", fmt.Sprint(i%10))
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func TestSystemdCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	write(t, filepath.Join(dir, "partner-key"), "abc\n")
	v := New(map[string]Source{"k": SystemdCredential{"partner-key"}, "none": SystemdCredential{"none"}})
	if got, version := get(t, v, "k"); got != "abc" || version == "" {
		t.Errorf("%q %q", got, version)
	}
	if _, _, err := v.Get(t.Context(), "none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing credential: %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x", "a\x00"} {
		if _, err := (SystemdCredential{name}).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "not a file name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := (SystemdCredential{"partner-key"}).Fetch(t.Context()); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("no directory: %v", err)
	}
}

func BenchmarkGet(b *testing.B) {
	path := filepath.Join(b.TempDir(), "token")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		b.Fatal(err)
	}
	v := New(map[string]Source{"token": &counting{File: File{path}}})
	for b.Loop() {
		if _, _, err := v.Get(b.Context(), "token"); err != nil {
			b.Fatal(err)
		}
	}
}

// What could not be read for a while, and is what it was, has its version still: with
// another one every pooled connection was given up.
func TestVersionOutlivesAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "abc\n")
	c := Remember(File{path})
	_, first, err := c.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, version, err := c.Get(t.Context()); !errors.Is(err, os.ErrNotExist) || !v.IsZero() || version != "" {
			t.Errorf("gone: %q, %q, %v", v.Reveal(), version, err)
		}
	}
	write(t, path, "abc\n")
	if v, version, err := c.Get(t.Context()); err != nil || string(v.Reveal()) != "abc" || version != first {
		t.Errorf("back: %q, %q, %v; the version was %q", v.Reveal(), version, err, first)
	}
	write(t, path, "def\n")
	if v, version, err := c.Get(t.Context()); err != nil || string(v.Reveal()) != "def" || version == first {
		t.Errorf("another: %q, %q, %v", v.Reveal(), version, err)
	}
}
