package daemon_test

import (
	"testing"
)

func TestSystemStaticGo(t *testing.T) {
	w := newWorld(t)
	r := w.run(program("client"), "get", partnerURL)
	if r.code != 0 {
		t.Fatal(r)
	}
	accountIn(t, r.stdout).verified(t)
}
