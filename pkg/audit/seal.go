package audit

import (
	"context"
	"fmt"
	"time"
)

// A segment that was rotated out is put on disk and sealed at once. To pack it is
// a matter of space only, and waits until the trail is quiet: while it grows fast,
// the processor has better things to do.
const (
	packEvery  = 100 * time.Millisecond
	quietBytes = 64 << 10 // a trail that grew by less since the last look is quiet
	maxWaiting = 8        // so many segments wait; for the next one the trail need not be quiet
)

// sealRotated seals segments as they fill, and packs them when it is time.
func (l *Log) sealRotated(ctx context.Context) {
	defer l.done.Done()
	tick := time.NewTicker(packEvery)
	defer tick.Stop()
	for seen := uint64(0); ; {
		quiet := false
		select {
		case <-ctx.Done():
			return
		case <-l.rotated:
			_ = l.sealFull() // what is left plain is sealed by the next Open
		case <-tick.C:
			grown := l.stats.bytes.Load()
			quiet, seen = grown-seen < quietBytes, grown
		}
		if len(l.waiting) > 0 && (quiet || len(l.waiting) > maxWaiting || l.cramped.Swap(false)) {
			_ = l.packOne()
		}
	}
}

// sealFull seals every segment that was rotated out.
func (l *Log) sealFull() error {
	for {
		l.mu.Lock()
		if len(l.full) == 0 {
			l.mu.Unlock()
			return nil
		}
		s := l.full[0]
		l.mu.Unlock()
		if err := l.sealOne(s); err != nil {
			return err
		}
		l.waiting = append(l.waiting, s.segmentFile)
	}
}

func (l *Log) sealOne(s *segment) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	err := s.finish()
	l.mu.Lock()
	l.full = l.full[1:]
	l.mu.Unlock()
	if err != nil {
		return l.fail(fmt.Errorf("seal audit segment %s: %w", s.name(), err))
	}
	return seal(s.segmentFile, s.newest)
}

// packOne packs the segment that waits longest. One that cannot be packed stays
// as it is until the next Open.
func (l *Log) packOne() error {
	f := l.waiting[0]
	l.waiting = l.waiting[1:]
	if err := packSegment(f); err != nil {
		return fmt.Errorf("seal audit segment %s: %w", f.name(), err)
	}
	return nil
}

// sealAll seals and packs what is left.
func (l *Log) sealAll() error {
	err := l.sealFull()
	for err == nil && len(l.waiting) > 0 {
		err = l.packOne()
	}
	return err
}
