package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Stats counts since Open.
type Stats struct {
	Seq       uint64 // the last record
	Synced    uint64 // the last record known to be on disk
	Appended  uint64
	Failed    uint64 // records that Append refused
	Bytes     uint64
	Rotations uint64
	SyncFails uint64
}

type counters struct {
	appended, failed, bytes, rotations, syncFails atomic.Uint64
}

// Stats tells how the trail does.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	seq := l.tip.seq
	l.mu.Unlock()
	return Stats{
		Seq: seq, Synced: l.synced.Load(),
		Appended: l.stats.appended.Load(), Failed: l.stats.failed.Load(), Bytes: l.stats.bytes.Load(),
		Rotations: l.stats.rotations.Load(), SyncFails: l.stats.syncFails.Load(),
	}
}

// Broken is why no record can be written any more, whatever comes; nil: one can.
func (l *Log) Broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Sync puts every record appended so far on disk.
func (l *Log) Sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	return l.syncLocked()
}

// waitSynced returns when a record is on disk. Whoever comes first syncs for all
// who appended meanwhile; the others find their record synced.
func (l *Log) waitSynced(seq uint64) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.synced.Load() >= seq {
		return nil
	}
	return l.syncLocked()
}

func (l *Log) syncLocked() error {
	l.mu.Lock()
	seq, err := l.tip.seq, l.broken
	segments := append(l.full[:len(l.full):len(l.full)], l.active)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.giveBackLocked()
	if err := l.inPlace(); err != nil {
		return l.fail(err)
	}
	for _, s := range segments {
		if err := s.sync(); err != nil {
			return l.fail(fmt.Errorf("sync audit segment %s: %w", s.name(), err))
		}
	}
	l.mu.Lock()
	l.tip.synced = max(l.tip.synced, seq)
	l.rest()
	l.mu.Unlock()
	if err := l.head.sync(); err != nil {
		return l.fail(fmt.Errorf("sync audit head: %w", err))
	}
	l.synced.Store(seq)
	return nil
}

// look breaks the trail if it is not in place any more.
func (l *Log) look() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	broken := l.broken != nil
	l.mu.Unlock()
	if broken {
		return
	}
	if err := l.inPlace(); err != nil {
		_ = l.fail(err) // counted, and Append reports it
	}
}

// inPlace is an error where somebody removed or moved what is written to, under
// syncMu: the next Open would not find it. Where nobody can tell, it is.
func (l *Log) inPlace() error {
	l.mu.Lock()
	files := [...]*os.File{l.active.file, l.head.file}
	l.mu.Unlock()
	for _, f := range files {
		own, err := f.Stat()
		if err != nil {
			continue
		}
		there, err := os.Lstat(f.Name())
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(own, there) {
			return fmt.Errorf("%s: %w", f.Name(), ErrTaken)
		}
	}
	return nil
}

// giveBack takes what is written out of this process's memory.
func (l *Log) giveBack() {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.giveBackLocked()
}

// giveBackLocked runs under syncMu, which keeps segments mapped. Append goes on
// meanwhile: it writes behind the end and never looks back.
func (l *Log) giveBackLocked() {
	l.mu.Lock()
	s, end := l.active, l.active.end
	l.mu.Unlock()
	s.giveBack(end)
}

// fail breaks the trail: after a failed sync the kernel may have dropped the
// pages, so that a later one that succeeds proves nothing.
func (l *Log) fail(err error) error {
	l.stats.syncFails.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = errors.Join(l.broken, err)
	return err
}

// rest lets the third slot of the head say what the newest does, under mu.
func (l *Log) rest() {
	var err error // is in l.broken too
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer l.catchFault(&err)
	l.head.rest(&l.tip)
	l.resting = true
}

// keep does what a quiet trail needs: it brings the head to rest, syncs, writes
// checkpoints, and holds no more memory than it must.
func (l *Log) keep(ctx context.Context) {
	defer l.done.Done()
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	lastSync, lastCheck, lastLook := time.Now(), time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(lastCheck) >= l.o.CheckpointEvery {
				l.checkpointIfGrown()
				lastCheck = now
			}
			if now.Sub(lastSync) >= l.o.SyncEvery && l.Stats().Seq > l.synced.Load() {
				_ = l.Sync() // counted, and Append reports it
				lastSync = now
			}
			if now.Sub(lastLook) >= l.o.SyncEvery {
				l.look()
				lastLook = now
			}
			l.restIfGrown()
			l.giveBack()
		}
	}
}

func (l *Log) restIfGrown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.resting && l.broken == nil {
		l.rest()
	}
}

func (l *Log) checkpointIfGrown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tip.seq > l.checked && l.broken == nil {
		l.checkpoint()
	}
}
