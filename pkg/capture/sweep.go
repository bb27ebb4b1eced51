package capture

import (
	"context"
	"time"
)

// How long a record may wait for its connection to be accepted, and how often
// the old ones are looked for. A connection that waits longer is reset for
// want of a record; a listener that late is not serving anyway.
const (
	recordLife = 2 * time.Minute
	sweepEvery = 30 * time.Second
)

// sweep removes, until ctx ends, records whose connection nobody will accept:
// their listener died with them in its queue. And routes that nobody keeps.
func (c *Capture) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		c.removeOlder(sinceBoot() - recordLife)
		c.doubts.forget(sinceBoot() - recordLife)
		select {
		case <-ctx.Done():
			return
		case <-tick.C: // by now every listener has its tag
			c.forgetRoutes()
		}
	}
}

// removeOlder removes the records of connects before a time since boot. The
// map changes meanwhile, so one may be missed; it goes the next time.
func (c *Capture) removeOlder(than time.Duration) {
	var key outwardenTuple
	var record outwardenFlow
	var old []outwardenTuple
	for records := c.maps.Flows.Iterate(); records.Next(&key, &record); {
		if time.Duration(record.At) < than {
			old = append(old, key)
		}
	}
	for i := range old {
		_ = c.maps.Flows.Delete(&old[i]) // gone already is as good
	}
}
