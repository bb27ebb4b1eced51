package proxy

import (
	"context"
	"time"
)

// asking is the context of what a connection has looked up and dialled: the Proxy's, and
// it tells for which workload that is (WorkloadOf).
type asking conn

var _ context.Context = (*asking)(nil)

func (c *conn) asks() context.Context { return (*asking)(c) }

// Deadline is none.
func (*asking) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the Proxy has lost patience.
func (a *asking) Done() <-chan struct{} { return a.p.ctx.Done() }

// Err says whether it is.
func (a *asking) Err() error { return a.p.ctx.Err() }

// Value knows the workload.
func (a *asking) Value(key any) any {
	if key == (workloadKey{}) {
		return a.flow.Workload()
	}
	return a.p.ctx.Value(key)
}
