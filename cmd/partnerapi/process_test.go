package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets a test run this binary as partnerapi itself.
func TestMain(m *testing.M) {
	if os.Getenv("PARTNERAPI_IS_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestProcess: the program says when it is ready, on its descriptor too, and ends
// well on SIGTERM.
func TestProcess(t *testing.T) {
	dir := t.TempDir() + "/partner"
	if err := initialise(dir, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	ready, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--dir", dir, "--listen", "127.0.0.1:0", "--ready-fd", "3")
	cmd.Env = append(os.Environ(), "PARTNERAPI_IS_MAIN=1")
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{child}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "listening on 127.0.0.1:") {
		t.Errorf("ready line %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
