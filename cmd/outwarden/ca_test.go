package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/config"
)

// writeAuthority makes the authority of a configuration.
func writeAuthority(file string) error {
	cfg, _, err := config.Load(file)
	if err != nil {
		return err
	}
	var names []string
	for _, r := range cfg.Routes {
		for _, h := range r.To.Hosts {
			names = append(names, h.String())
		}
	}
	_, err = authority.Open(filepath.Join(cfg.StateDir, "authority"), authority.Options{Permitted: names, TPM: cfg.Authority.TPM})
	return err
}

// While a daemon lives its authority can be looked at, and that is all.
func TestAuthorityOfALivingDaemon(t *testing.T) {
	dir := t.TempDir()
	file, run := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "run")
	text := "state_dir: " + dir + "/state\nrun_dir: " + run + "\ndefault: intercept\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeAuthority(file); err != nil {
		t.Fatal(err)
	}
	hold(t, run)
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"show", exitDone, "speaks for", ""},
		{"export", exitDone, "BEGIN CERTIFICATE", ""},
		{"rotate", exitFailed, "", "hint: stop it first"},
		{"remove --yes", exitFailed, "", "hint: stop it first"},
	} {
		var stdout, stderr bytes.Buffer
		e := &env{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
		code := execute(context.Background(), e, append([]string{"--config", file, "ca"}, strings.Fields(c.args)...))
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("ca %s: exit %d, %s%s", c.args, code, stdout.String(), stderr.String())
		}
		if strings.Contains(stdout.String(), "PRIVATE") {
			t.Errorf("ca %s prints a key", c.args)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "state/authority/authority.pem")); err != nil {
		t.Error(err)
	}
}

// hold takes the lock of a daemon.
func hold(t *testing.T, run string) {
	t.Helper()
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(run, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
}
