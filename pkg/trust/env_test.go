package trust

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindFollowsTheEnvironment(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	pem, _ := root(t, "theirs")
	at := func(path string) string { return write(t, filepath.Join(base, path), pem) }
	want := []place{
		{at("jdk/lib/security/cacerts"), kindJava},
		{at("jdk/lib/security/jssecacerts"), kindJava},
		{at("jdk8/jre/lib/security/cacerts"), kindJava},
		{at("pathjdk/lib/security/cacerts"), kindJava},
		{at("own/store.jks"), kindJava},
		{at("venv/lib/python3.11/site-packages/certifi/cacert.pem"), kindPEM},
		{at("pyenv/versions/3.9/lib/python3.9/site-packages/botocore/cacert.pem"), kindPEM},
		{at("home/.local/lib/python3.12/site-packages/pip/_vendor/certifi/cacert.pem"), kindPEM},
		{at("prefix/lib/python3/dist-packages/stripe/data/ca-certificates.crt"), kindPEM},
	}
	at("pathjdk/bin/java")
	must(t, os.MkdirAll(filepath.Join(base, "bin"), 0o755))
	must(t, os.Symlink(filepath.Join(base, "pathjdk/bin/java"), filepath.Join(base, "bin/java")))
	got := find([]string{
		"JAVA_HOME=" + base + "/jdk", "JRE_HOME=" + base + "/jdk8", "VIRTUAL_ENV=" + base + "/venv", "HOME=" + base + "/home",
		"PATH=" + strings.Join([]string{base + "/bin", base + "/pyenv/shims", base + "/prefix/bin", "", "relative"}, ":"),
		"JAVA_TOOL_OPTIONS=-Xmx1g -Djavax.net.ssl.trustStore=" + base + "/own/store.jks",
	})
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s was not found", w.path)
		}
	}
	seen := make(map[string]bool)
	for _, p := range got {
		if seen[p.path] {
			t.Errorf("%s was found twice", p.path)
		}
		seen[p.path] = true
	}
}

func TestForCoversTheEnvironmentOfTheWorkload(t *testing.T) {
	ours, _ := root(t, "ours")
	theirs, _ := root(t, "theirs")
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	s, err := prepare(filepath.Join(t.TempDir(), "trust"), ours, nil)
	must(t, err)
	if same, err := s.For(nil); err != nil || same != s {
		t.Errorf("nothing to add: %v", err)
	}
	bundle := write(t, base+"/venv/lib/python3.11/site-packages/certifi/cacert.pem", theirs)
	store := write(t, base+"/jdk/lib/security/cacerts", []byte{0x30, 0x82, 1, 2}) // PKCS #12
	wider, err := s.For([]string{"VIRTUAL_ENV=" + base + "/venv", "JAVA_HOME=" + base + "/jdk"})
	must(t, err)
	opened, err := Open(wider.Path())
	must(t, err)
	if !slices.Equal(opened.binds, wider.binds) || len(opened.binds) != len(s.binds)+2 {
		t.Errorf("%d binds, want those of the host (%d) and two", len(opened.binds), len(s.binds))
	}
	if b := read(t, opened.source(bundle)); count(b) != 2 {
		t.Errorf("%d certificates in the copy of the virtual environment's", count(b))
	}
	if opened.source(store) == "" {
		t.Error("the keystore of JAVA_HOME is not covered")
	}
	first, err := Open(s.Dir())
	must(t, err)
	if !slices.Equal(first.binds, s.binds) {
		t.Error("the host's own list was changed")
	}
}

func TestEnv(t *testing.T) {
	ours, _ := root(t, "ours")
	theirs, key := root(t, "theirs")
	s, err := prepare(filepath.Join(t.TempDir(), "trust"), ours, nil)
	must(t, err)
	own := write(t, filepath.Join(t.TempDir(), "own.pem"), theirs, key, theirs)
	hashed := filepath.Join(t.TempDir(), "hashed")
	write(t, hashed+"/a.0", theirs)
	write(t, hashed+"/b.0", ours)
	environ := []string{
		"HOME=/x", "SSL_CERT_FILE=" + own, "NODE_EXTRA_CA_CERTS=" + own, "REQUESTS_CA_BUNDLE=" + hashed, "CURL_CA_BUNDLE=",
		"AWS_CA_BUNDLE=/does/not/exist", "SSL_CERT_DIR=/some/dir", "PIP_CERT=/first", "PIP_CERT=" + own, "NPM_CONFIG_CAFILE=" + own,
	}
	before := slices.Clone(environ)
	got, err := s.Env(environ)
	must(t, err)
	if !slices.Equal(environ, before) {
		t.Error("the caller's environment was changed")
	}
	for _, v := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NPM_CONFIG_CAFILE"} {
		b := read(t, lookup(got, v))
		if count(b) != 2 || !bytes.Contains(b, theirs) || !bytes.Contains(b, ours) {
			t.Errorf("%s: want their root and ours and nothing else, got %d certificates", v, count(b))
		}
		if bytes.Contains(b, []byte("PRIVATE")) {
			t.Errorf("%s: a private key was copied", v)
		}
	}
	for v, want := range map[string]string{
		"CURL_CA_BUNDLE": s.Bundle(), "AWS_CA_BUNDLE": s.Bundle(), "GIT_SSL_CAINFO": s.Bundle(), "DENO_CERT": s.path(rootName),
		"SSL_CERT_DIR": "/some/dir", "HOME": "/x", "YARN_HTTPS_CA_FILE_PATH": "", "JAVA_TOOL_OPTIONS": "",
	} {
		if value := lookup(got, v); value != want {
			t.Errorf("%s=%s, want %s", v, value, want)
		}
	}
	names := make(map[string]bool)
	for _, e := range got {
		name, _, _ := strings.Cut(e, "=")
		if names[name] {
			t.Errorf("%s is set twice", name)
		}
		names[name] = true
	}
}
