package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
)

func TestHints(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/var/lib/outwarden/audit/1.jsonl", Err: syscall.ENOSPC}
	_, _, missing := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	_, _, noUser := lookupUser("nobody-of-that-name")
	for _, c := range []struct {
		err  error
		want string // in the hint; "" none
	}{
		{errors.New("whatever"), ""},
		{fmt.Errorf("a: %w", hinted(errors.New("b"), "do c")), "do c"},
		{errors.Join(errors.New("a"), fmt.Errorf("b: %w", usageError{errors.New("c"), "do d"})), "do d"},
		{fmt.Errorf("a: %w", &control.Error{Message: "b"}), ""},
		{hinted(fmt.Errorf("a: %w", hinted(errors.New("b"), "do c")), ""), "do c"},
		{fmt.Errorf("a: %w", full), "make room where /var/lib/outwarden/audit/1.jsonl is"},
		{hinted(full, "do c"), "do c"},
		{&control.Error{Message: "b", Tip: "do c"}, "do c"},
		{os.NewSyscallError("write", syscall.EDQUOT), "quota is full"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, "read-only"},
		{missing, "--config"},
		{fs.ErrNotExist, ""},
		{noUser, "getent passwd"},
	} {
		if got := hintOf(c.err); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%v: hint %q, want %q", c.err, got, c.want)
		}
	}
}

// TestWithoutRoot: what only root may do says so, and how.
func TestWithoutRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "outwarden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conf := filepath.Join(dir, "outwarden.yaml")
	self, err := os.Executable()
	err = errors.Join(err, os.Chmod(dir, 0o755), copyFile(self, filepath.Join(dir, "outwarden")), //nolint:gosec // another user has to get there
		os.WriteFile(conf, []byte("state_dir: state\nrun_dir: run\n"), 0o644), //nolint:gosec // and to read it
		os.Mkdir(filepath.Join(dir, "state"), 0), os.Mkdir(filepath.Join(dir, "run"), 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"ca show", "ca export", "ca rotate", "ca remove --yes", "run -- true", "daemon", "detach", "doctor", "status", "reload", "upgrade",
		"flows", "trail 1", "audit verify", "explain --pid 1 https://a.example/",
	} {
		cmd := exec.Command(filepath.Join(dir, "outwarden"), append([]string{"--config", conf}, strings.Fields(args)...)...)
		cmd.Dir = dir
		if os.Geteuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		var said bytes.Buffer
		cmd.Stderr = &said
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(said.String(), "outwarden: hint: ") || !strings.Contains(said.String(), "sudo outwarden") {
			t.Errorf("%s: exit %d: %s", args, code, said.String())
		}
	}
}

func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755) //nolint:gosec // a program
}
