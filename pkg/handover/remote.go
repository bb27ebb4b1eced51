package handover

import (
	"errors"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/replay"
)

var errNoSuccessor = errors.New("the daemon after us does not answer any more")

// Keeper keeps what only one daemon can: the trail, and the signatures that were
// seen.
type Keeper interface {
	// Append returns when the record survives the death of the keeper.
	Append(*audit.Record) error
	// Accept is an error of replay if the signature is not to be taken.
	Accept(m replay.Message, at, now time.Time) error
}

// Remote is the successor's Keeper, for what the daemon before it still drains. It
// ends with the successor's line.
type Remote struct {
	line *line

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan string // nil: the line is down
}

// signature is one that a workload made, and that must not have been seen.
type signature struct {
	Message replay.Message `json:"message"`
	At      time.Time      `json:"at"`
	Now     time.Time      `json:"now"`
}

func newRemote(l *line) *Remote {
	r := &Remote{line: l, waiting: map[uint64]chan string{}}
	go r.read()
	return r
}

// Append returns when the successor has written the record.
func (r *Remote) Append(record *audit.Record) error {
	if record.Time.IsZero() {
		record.Time = time.Now()
	}
	return r.ask(&message{Record: record.Line()})
}

// Waits holds: another process answers.
func (r *Remote) Waits() bool { return true }

// Accept asks the successor's replay.Cache.
func (r *Remote) Accept(m replay.Message, at, now time.Time) error {
	err := r.ask(&message{Replay: &signature{m, at, now}})
	if err == nil {
		return nil
	}
	for _, known := range []error{replay.ErrReplayed, replay.ErrStale, replay.ErrEarly, replay.ErrFull} {
		if err.Error() == known.Error() {
			return known
		}
	}
	return errors.Join(replay.ErrJournal, err)
}

// ask sends a question and waits for the answer.
func (r *Remote) ask(m *message) error {
	id, answer := r.expect()
	if answer == nil {
		return errNoSuccessor
	}
	defer r.forget(id)
	m.ID = id
	if err := r.line.send(m); err != nil {
		return err
	}
	patience := time.NewTimer(Patience)
	defer patience.Stop()
	select {
	case failed, ok := <-answer:
		switch {
		case !ok:
			return errNoSuccessor
		case failed != "":
			return errors.New(failed)
		}
		return nil
	case <-patience.C:
		return errNoSuccessor
	}
}

func (r *Remote) expect() (id uint64, answer chan string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		return 0, nil
	}
	r.last++
	answer = make(chan string, 1)
	r.waiting[r.last] = answer
	return r.last, answer
}

func (r *Remote) forget(id uint64) chan string {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := r.waiting[id]
	delete(r.waiting, id)
	return answer
}

// read hands answers out until the line is down, and then tells all who wait.
func (r *Remote) read() {
	for {
		m, err := r.line.receive(0)
		if err != nil {
			break
		}
		if answer := r.forget(m.ID); answer != nil {
			answer <- m.Failed
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, answer := range r.waiting {
		close(answer)
	}
	r.waiting = nil
}
