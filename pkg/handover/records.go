package handover

import (
	"errors"
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/audit"
)

// Trail takes records; Append returns when one survives the death of its process.
type Trail interface {
	Append(*audit.Record) error
}

// Records is where the records of flows go: our own trail, or, while we drain, the
// successor's. Between the two they wait. MoveTo comes before all else.
type Records struct{ at atomic.Pointer[place] }

// place is one of the two.
type place struct {
	Trail
	moved chan struct{} // closed once there is another; nil: none will come
}

// Append writes a record to wherever records go now.
func (r *Records) Append(record *audit.Record) error {
	for {
		p := r.at.Load()
		err := p.Append(record)
		if p.moved == nil || !errors.Is(err, audit.ErrClosed) {
			return err
		}
		<-p.moved
	}
}

// Hold makes records wait for the next place instead of failing once this one is
// closed.
func (r *Records) Hold() { r.at.Store(&place{r.at.Load().Trail, make(chan struct{})}) }

// MoveTo lets them go on elsewhere.
func (r *Records) MoveTo(next Trail) {
	if before := r.at.Swap(&place{Trail: next}); before != nil && before.moved != nil {
		close(before.moved)
	}
}
