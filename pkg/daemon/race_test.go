//go:build race

package daemon_test

import "os"

// Under the race detector the daemon that the tests start has it too. By itself
// the detector makes each process wait a second before it ends.
func init() {
	raceFlags, cgo = []string{"-race"}, "CGO_ENABLED=1"
	os.Setenv("GORACE", "atexit_sleep_ms=0")
}
