package proxy

import (
	"runtime"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// shares keeps a noisy workload from taking what the others need. A workload
// may hold as many connections as are left for all others: alone it gets half,
// the next one half of the rest, and who comes new finds room. So there is no
// number to choose, and none that is too small for a host with one workload.
//
// A workload is a cgroup, as the kernel saw it at connect(). Who may make
// cgroups of its own has a share in each.
type shares struct {
	most  int // connections at once
	turns int // handshakes of one workload at once

	mu   sync.Mutex
	held int
	of   map[uint64]*share // by cgroup; only who holds something is here
}

// share is what one workload holds.
type share struct {
	held  int           // guarded by shares.mu
	turns chan struct{} // handshakes under way
}

// turnsPerProcessor is how many handshakes of one workload may be under way for
// each processor. A handshake is the most that a connection costs; a workload
// that begins thousands waits for its own, and the others for a few.
const turnsPerProcessor = 32

func newShares(most, turns int) *shares {
	if turns == 0 {
		turns = turnsPerProcessor * runtime.GOMAXPROCS(0)
	}
	return &shares{most: most, turns: turns, of: make(map[uint64]*share)}
}

// take returns the share of a workload with one more connection in it, nil if
// it holds its share already. give takes the connection out again.
func (s *shares) take(cgroup uint64) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.of[cgroup]
	if h == nil {
		h = &share{turns: make(chan struct{}, s.turns)}
		s.of[cgroup] = h
	}
	if h.held > 0 && h.held >= s.most-s.held {
		return nil
	}
	h.held++
	s.held++
	return h
}

func (s *shares) give(cgroup uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.of[cgroup]
	h.held--
	s.held--
	if h.held == 0 {
		delete(s.of, cgroup)
	}
}

// turn waits until the workload may do one more handshake, for no longer than
// patience. done ends it.
func (h *share) turn(closed <-chan struct{}, patience time.Duration) error {
	select {
	case h.turns <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case h.turns <- struct{}{}:
		return nil
	case <-closed:
	case <-late.C:
	}
	return flow.ReasonConnectionLimit
}

func (h *share) done() { <-h.turns }

// admit takes the connection into its workload's share. A workload that holds
// its share already is refused, and the trail says who that is.
func (c *conn) admit() bool {
	if c.share == nil {
		c.share = c.p.shares.take(c.flow.Workload())
	}
	if c.share != nil {
		return true
	}
	c.p.stats.Limited.Add(1)
	c.reset()
	c.identify()
	c.recordConnection(&audit.Record{Decision: policy.Deny.String(), Reason: flow.ReasonConnectionLimit.String()})
	return false
}
