package trust

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCopiesOfBefore: with each root that is prepared copies of all stores are made, and
// those of the one before the last go: the directory lies in memory. What a workload may
// read at any time, as a variable names it, stays.
func TestCopiesOfBefore(t *testing.T) {
	dir, venv := filepath.Join(t.TempDir(), "trust"), t.TempDir()
	theirs, _ := root(t, "theirs")
	certifi := write(t, filepath.Join(venv, "lib/python3.99/site-packages/certifi/cacert.pem"), theirs)
	var sizes []int
	var stores []*Store
	var named []string
	for i := range 5 {
		ours, _ := root(t, "ours")
		s, err := prepare(dir, ours, []string{"VIRTUAL_ENV=" + venv})
		must(t, err)
		environ, err := s.Env([]string{"SSL_CERT_FILE=" + certifi})
		must(t, err)
		entries, err := os.ReadDir(dir)
		must(t, err)
		stores, named, sizes = append(stores, s), append(named, lookup(environ, "SSL_CERT_FILE")), append(sizes, len(entries)-i)
	}
	if sizes[4] != sizes[1] {
		t.Errorf("files beside those that workloads name: %d", sizes)
	}
	for i, s := range stores {
		if _, err := os.Stat(named[i]); err != nil {
			t.Errorf("what a variable of generation %d names: %v", i, err)
		}
		for _, b := range s.binds {
			if _, err := os.Stat(s.path(b.Source)); (err == nil) != (i >= len(stores)-2) {
				t.Errorf("generation %d of %d, copy of %s: %v", i, len(stores), b.Target, err)
			}
		}
	}
	if slices.Contains(named, stores[4].source(certifi)) {
		t.Error("a variable names a copy that will go")
	}
}

// TestOnlyStoresAreCovered: a link where a store is looked for leads no copy over what is
// none; else one user's link would take a file from the runs of all others.
func TestOnlyStoresAreCovered(t *testing.T) {
	ours, _ := root(t, "ours")
	theirs, key := root(t, "theirs")
	jks, err := addToKeystore(nil, theirs, theirs)
	must(t, err)
	for name, c := range map[string]struct {
		content []byte
		java    bool
		covered bool
	}{
		"text":               {content: []byte("nameserver 192.0.2.1\n")},
		"a key":              {content: key},
		"text as a keystore": {content: []byte("nameserver 192.0.2.1\n"), java: true},
		"certificates":       {content: theirs, covered: true},
		"empty":              {covered: true},
		"JKS":                {content: jks, java: true, covered: true},
		"PKCS #12":           {content: []byte{0x30, 0x82, 1, 2}, java: true, covered: true},
	} {
		place, environ := t.TempDir()+"/lib/python3.99/site-packages/certifi/cacert.pem", "VIRTUAL_ENV="
		if c.java {
			place, environ = t.TempDir()+"/lib/security/cacerts", "JAVA_HOME="
		}
		prefix, _, _ := strings.Cut(place, "/lib/")
		target := write(t, filepath.Join(t.TempDir(), "target"), c.content)
		must(t, os.MkdirAll(filepath.Dir(place), 0o755))
		must(t, os.Symlink(target, place))
		s, err := prepare(filepath.Join(t.TempDir(), "trust"), ours, []string{environ + prefix})
		must(t, err)
		if got := s.source(target) != ""; got != c.covered {
			t.Errorf("%s: covered %v", name, got)
		}
	}
}
