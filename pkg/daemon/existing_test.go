package daemon

import (
	"context"
	"testing"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/flow"
)

// Who leaves the duties to a successor holds d.changing until the looks for existing
// connections have ended, also one that begins at that moment.
func TestExistingNeedsNoLock(t *testing.T) {
	d := &Daemon{existing: newExisting(), capture: &capture.Capture{}}
	d.existing.joins = make(chan flow.Caller) // so that a send is a look that has begun
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	d.changing.Lock()
	defer d.changing.Unlock()
	d.duties.work.Go(func() { d.watchExisting(ctx) })
	const nobody = 1<<32 - 1
	for range 2 { // the first has ended when the second begins
		d.existing.joins <- flow.Caller{PID: nobody}
	}
	stop()
	d.duties.work.Wait()
}
