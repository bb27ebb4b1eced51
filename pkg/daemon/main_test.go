package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// programsVariable names a directory that has the programs already, for where
// there is no compiler.
const programsVariable = "OUTWARDEN_PROGRAMS"

// binDir is where the programs under test lie: one directory of the whole test
// run, which every user may enter.
var binDir string

func TestMain(m *testing.M) {
	if addr := os.Getenv(quicVariable); addr != "" {
		fmt.Fprintln(os.Stderr, dialQUIC(addr, os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binDir = os.Getenv(programsVariable); binDir != "" {
		return m.Run()
	}
	var err error
	if binDir, err = openDir(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binDir)
	return m.Run()
}

// openDir makes a temporary directory that all may enter.
func openDir() (string, error) {
	dir, err := os.MkdirTemp("", "outwarden-system-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	return dir, err
}

// raceFlags and cgo are how the programs are built.
var raceFlags, cgo = []string(nil), "CGO_ENABLED=0"

// build makes the programs once, when the first test wants them.
var build = sync.OnceValue(func() error {
	if os.Getenv(programsVariable) != "" {
		return nil
	}
	// The client has no part of ours in it, and is alone in a container.
	return errors.Join(
		compile("../../cmd/outwarden", cgo, raceFlags...),
		compile("../../cmd/partnerapi", cgo, raceFlags...),
		compile("./testdata/client", "CGO_ENABLED=0"))
})

func compile(pkg, cgo string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", binDir + "/"}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func requireBinaries(t testing.TB) {
	t.Helper()
	netnstest.RequireRoot(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
}

func program(name string) string { return filepath.Join(binDir, name) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
