package capture

import (
	"sync"
	"sync/atomic"
	"time"
)

// mostDoubts is as many connections as may wait in the queues of our listeners.
const mostDoubts = 2 * MaxListeners * 4096

// doubts are tuples of which a record was contested: more than one connection was
// made under each, and another waits behind the one that was accepted. Until that has
// been, a record under the same tuple may be of somebody who came after it.
type doubts struct {
	any   atomic.Bool // so that everybody else need not wait
	mu    sync.Mutex
	since map[outwardenTuple]time.Duration // boot
}

func (d *doubts) note(key *outwardenTuple) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil {
		d.since = map[outwardenTuple]time.Duration{}
	}
	for other := range d.since {
		if len(d.since) < mostDoubts {
			break
		}
		delete(d.since, other)
	}
	d.since[*key] = sinceBoot()
	d.any.Store(true)
}

func (d *doubts) has(key *outwardenTuple) bool {
	if !d.any.Load() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.since[*key]
	return ok
}

// forget removes those that are older than a time since boot.
func (d *doubts) forget(than time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, since := range d.since {
		if since < than {
			delete(d.since, key)
		}
	}
	d.any.Store(len(d.since) > 0)
}
