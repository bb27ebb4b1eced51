//go:build race

package daemon_test

// Under the race detector the daemon that the tests start has it too.
func init() { raceFlags, cgo = []string{"-race"}, "CGO_ENABLED=1" }
