package handover

import (
	"errors"
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/audit"
)

// Trail takes records; Append returns when one survives the death of its process,
// for which it may wait where Waits says so.
type Trail interface {
	Append(*audit.Record) error
	Waits() bool
}

// Records is where the records of flows go: our own trail, or, while we drain, the
// successor's. Before the first and between the two they wait.
type Records struct{ at atomic.Pointer[place] }

// place is one of the two.
type place struct {
	Trail               // nil: none yet
	moved chan struct{} // closed once there is another; nil: none will come
}

// Append writes a record to wherever records go now. A place that closes under it
// may have been left meanwhile.
func (r *Records) Append(record *audit.Record) error {
	for {
		p := r.now()
		err := p.append(record)
		switch {
		case !errors.Is(err, audit.ErrClosed):
			return err
		case p.moved != nil:
			<-p.moved
		case p == r.now():
			return err
		}
	}
}

// Waits reports whether Append may wait now: for the place, or where that is. It may
// once in a great while wait all the same, if the place is left at that moment.
func (r *Records) Waits() bool {
	p := r.now()
	return p.moved != nil || p.Trail != nil && p.Trail.Waits()
}

func (p *place) append(record *audit.Record) error {
	if p.Trail == nil {
		return audit.ErrClosed
	}
	return p.Append(record)
}

// now is the place of this moment.
func (r *Records) now() *place {
	if p := r.at.Load(); p != nil {
		return p
	}
	r.at.CompareAndSwap(nil, &place{moved: make(chan struct{})})
	return r.at.Load()
}

// Hold makes records wait for the next place instead of failing once this one is
// closed.
func (r *Records) Hold() { r.at.Store(&place{r.now().Trail, make(chan struct{})}) }

// MoveTo lets them go on elsewhere.
func (r *Records) MoveTo(next Trail) {
	if before := r.at.Swap(&place{Trail: next}); before != nil && before.moved != nil {
		close(before.moved)
	}
}

// End fails records that wait, with audit.ErrClosed: no other place will come.
func (r *Records) End() {
	if r.now().moved != nil {
		r.MoveTo(nil)
	}
}
