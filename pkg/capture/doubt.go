package capture

import (
	"sync"
	"sync/atomic"
	"time"
)

// mostDoubts is as many connections as may wait in the queues of our listeners.
const mostDoubts = 2 * MaxListeners * 4096

// doubts count, by tuple, the connections that wait to be accepted and have no record:
// those that contested another's, and whose record was found before it was their turn.
// Until they have been, a record under that tuple is of somebody behind them.
type doubts struct {
	any    atomic.Bool // so that everybody else need not wait
	mu     sync.Mutex
	tuples map[outwardenTuple]doubt
}

type doubt struct {
	waiting uint32
	since   time.Duration // boot
}

// settle takes note of an accepted connection and of what was found under its tuple,
// and reports whether that is its own record.
func (d *doubts) settle(key *outwardenTuple, record *outwardenFlow, found bool) (own bool) {
	contested := found && record.Contested > 0
	if !contested && !d.any.Load() {
		return found
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.tuples[*key].waiting
	own = found && !contested && waiting == 0
	if waiting > 0 && !found {
		waiting-- // it is one of them; with a record, the record's owner waits in its stead
	}
	if contested {
		waiting += record.Contested
	}
	d.keep(key, waiting)
	return own
}

// keep is called with mu held.
func (d *doubts) keep(key *outwardenTuple, waiting uint32) {
	delete(d.tuples, *key)
	if waiting > 0 {
		d.makeRoom()
		d.tuples[*key] = doubt{waiting, sinceBoot()}
	}
	d.any.Store(len(d.tuples) > 0)
}

func (d *doubts) makeRoom() {
	if d.tuples == nil {
		d.tuples = map[outwardenTuple]doubt{}
	}
	for other := range d.tuples {
		if len(d.tuples) < mostDoubts {
			return
		}
		delete(d.tuples, other)
	}
}

// forget removes those that are older than a time since boot: not all that contest a
// record come to be accepted.
func (d *doubts) forget(than time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, of := range d.tuples {
		if of.since < than {
			delete(d.tuples, key)
		}
	}
	d.any.Store(len(d.tuples) > 0)
}
