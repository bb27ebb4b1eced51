package daemon

import (
	"errors"
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// records is where the proxy's records go: our own trail, or, while we drain, the
// successor's. Between the two they wait.
type records struct{ at atomic.Pointer[place] }

// place is one of the two.
type place struct {
	proxy.Records
	moved chan struct{} // closed once there is another; nil: none will come
}

// Append writes a record to wherever records go now.
func (r *records) Append(record *audit.Record) error {
	for {
		p := r.at.Load()
		err := p.Append(record)
		if p.moved == nil || !errors.Is(err, audit.ErrClosed) {
			return err
		}
		<-p.moved
	}
}

// hold makes records wait for the next place instead of failing once this one is
// closed.
func (r *records) hold() { r.at.Store(&place{r.at.Load().Records, make(chan struct{})}) }

// moveTo lets them go on elsewhere.
func (r *records) moveTo(next proxy.Records) {
	if before := r.at.Swap(&place{Records: next}); before != nil && before.moved != nil {
		close(before.moved)
	}
}
