package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Ctrl-C ends what reads a file or a trail, however long that may take.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	program, conf, key := filepath.Join(dir, "outwarden"), filepath.Join(dir, "config.yaml"), filepath.Join(dir, "key")
	self, err := os.Executable()
	if err == nil {
		err = copyFile(self, program)
	}
	if err == nil {
		err = os.WriteFile(key, []byte("0123456789abcdef"), 0o600)
	}
	if err == nil {
		err = syscall.Mkfifo(conf, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"check", "explain https://api.partner.example/", "flows", "flow show 1", "trail 1", "audit verify", "audit export",
		"verify --scheme github --key " + key + " " + conf,
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := exec.Command(program, append([]string{"--config", conf}, strings.Fields(args)...)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			held, err := os.OpenFile(conf, os.O_WRONLY, 0) // once it reads from there
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Process.Signal(sig)
			patience := time.AfterFunc(5*time.Second, func() { _ = held.Close() }) // then it reads on
			_ = cmd.Wait()
			patience.Stop()
			_ = held.Close()
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != sig {
				t.Errorf("%s, %v: %v", args, sig, cmd.ProcessState)
			}
		}
	}
}
