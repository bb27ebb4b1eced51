package daemon

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/flow"
)

// A connection that no hook has seen has the hooks looked at, once for however many
// there are.
func TestUnseenIsLookedInto(t *testing.T) {
	d := newDaemon(Options{})
	d.capture = &capture.Capture{}
	const nobody = 1<<32 - 1
	for range 2 {
		d.connectUnseen(&flow.Flow{Caller: flow.Caller{PID: nobody}})
	}
	select {
	case <-d.unseen:
	default:
		t.Fatal("nobody is told")
	}
	select {
	case <-d.unseen:
		t.Error("the hooks are looked at for each")
	default:
	}
}
