package netnstest

import (
	"os"
	"testing"
)

// RootVariable names the environment variable that turns a skip for want of
// root into a failure. The gate sets it, so that nothing is skipped unseen.
const RootVariable = "OUTWARDEN_TEST_ROOT"

// RequireRoot skips the test unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	Skip(t, "needs root: network namespaces, cgroups and BPF programs")
}

// Skip skips the test for a reason, or fails it where [RootVariable] is 1.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(RootVariable) == "1" {
		t.Fatalf("may not be skipped (%s=1): %s", RootVariable, reason)
	}
	t.Skip(reason)
}

// Refused notes that a test found a thing refused by this kernel, after it made
// sure of that: what stands for it, why is the kernel's word. The report of
// `make test-kernels` lists these lines; a test that notes nothing has passed in full.
func Refused(t testing.TB, what string, why error) {
	t.Helper()
	t.Logf("refused: %s: %v", what, why)
}
