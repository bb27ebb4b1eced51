package trust

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPrepareAgain: what was prepared is taken as it is, and made anew as soon as
// anything is not what it was.
func TestPrepareAgain(t *testing.T) {
	ours, _ := root(t, "ours")
	theirs, _ := root(t, "theirs")
	next, _ := root(t, "next")
	more, _ := root(t, "more")
	dir, venv := filepath.Join(t.TempDir(), "trust"), t.TempDir()
	certifi := write(t, filepath.Join(venv, "lib/python3.99/site-packages/certifi/cacert.pem"), theirs)
	environ := []string{"VIRTUAL_ENV=" + venv}
	again := func() *Store {
		t.Helper()
		s, err := prepare(dir, ours, environ)
		must(t, err)
		if got := read(t, s.source(certifi)); !bytes.HasSuffix(got, ours) || !bytes.HasPrefix(got, read(t, certifi)[:100]) {
			t.Errorf("the copy is %s", got)
		}
		if !bytes.HasSuffix(read(t, s.Bundle()), ours) || !bytes.Equal(read(t, s.path(rootName)), ours) {
			t.Error("our root is not in the bundle")
		}
		opened, err := Open(dir)
		must(t, err)
		if !slices.Equal(opened.binds, s.binds) {
			t.Errorf("Open gives %v, Prepare %v", opened.binds, s.binds)
		}
		return s
	}
	s := again()
	made := s.files()
	if !slices.Equal(again().files(), made) {
		t.Error("the same was made anew")
	}
	for _, c := range []struct { // in this order
		name   string
		change func()
	}{
		{"another root", func() { ours = next }},
		{"another store", func() { write(t, certifi, more, theirs) }},
		{"a new store", func() { write(t, filepath.Join(venv, "lib/python3.98/site-packages/certifi/cacert.pem"), theirs) }},
		{"a store that went", func() { must(t, os.RemoveAll(filepath.Join(venv, "lib/python3.98"))) }},
		{"a copy cut", func() { must(t, os.Truncate(s.source(certifi), 0)) }},
		{"a copy overwritten", func() { write(t, s.source(certifi), theirs) }},
		{"a bundle removed", func() { must(t, os.Remove(s.Bundle())) }},
		{"a keystore cut", func() { must(t, os.Truncate(s.Keystore(), 3)) }},
		{"the list cut", func() { must(t, os.Truncate(s.Path(), 1)) }},
		{"the memory cut", func() { must(t, os.Truncate(s.path(preparedName), 5)) }},
		{"the memory gone", func() { must(t, os.Remove(s.path(preparedName))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.files()
			c.change()
			s = again()
			if slices.Equal(s.files(), before) {
				t.Error("nothing was made anew")
			}
			if count(read(t, s.Bundle())) < 1 || len(read(t, s.Keystore())) < 100 {
				t.Error("a bundle or a keystore is empty")
			}
		})
	}
}
