package main

import (
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/control"
)

// A daemon of another version may leave out what this one prints.
func TestStatusOfAnotherVersion(t *testing.T) {
	e, stdout, _ := newTestEnv(false, nil)
	if err := printStatus(e, &control.Status{Version: "0.1"}); err != nil || !strings.Contains(stdout.String(), "outwarden 0.1") {
		t.Errorf("%v: %s", err, stdout)
	}
}
