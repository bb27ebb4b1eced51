package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Log is a trail that is written to. Its methods are for concurrent use.
type Log struct {
	dir  string
	o    Options
	lock *os.File
	key  keyed     // under mu
	encs sync.Pool // *encoder

	mu      sync.Mutex
	tip     tip
	tipHex  hexDigest // tip.hash
	head    *head
	active  *segment
	full    []*segment // rotated out, not on disk yet
	refused uint64     // records since the last one that went well
	checked uint64     // seq of the last checkpoint
	resting bool       // the head's third slot says tip
	losses  []Record   // what Open found missing
	broken  error      // set for good
	closed  bool

	// syncMu is held while files of the trail are synced or closed. It is taken
	// before mu.
	syncMu sync.Mutex
	synced atomic.Uint64
	stats  counters

	stop    context.CancelFunc
	rotated chan struct{}
	waiting []segmentFile // sealed, not packed yet; of sealRotated, and then of Close
	cramped atomic.Bool   // there was no room for a new segment
	done    sync.WaitGroup
}

// Open makes a trail in dir, or goes on with the one that is there. The caller
// closes it. The error wraps ErrLocked while another process has it open.
func Open(dir string, o Options) (*Log, error) {
	o.fill()
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("make audit trail: %w", err)
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, o: o, lock: lock, rotated: make(chan struct{}, 1)}
	l.encs.New = func() any { return new(encoder) }
	if err := l.begin(); err != nil {
		l.release()
		return nil, fmt.Errorf("open audit trail %s: %w", dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.done.Add(2)
	go l.keep(ctx)
	go l.sealRotated(ctx)
	return l, nil
}

// begin takes up where the last writer left.
func (l *Log) begin() error {
	key, err := readKey(l.dir)
	if key == nil && err == nil {
		key, err = makeKey(l.dir)
	}
	if err != nil {
		return err
	}
	l.key = newKeyed(key)
	fd, err := inspect(l.dir, l.key)
	if err != nil {
		return err
	}
	if l.active, err = fd.open(l.dir, l.o.SegmentSize); err != nil {
		return err
	}
	if err := errors.Join(sweep(l.dir), sealOlder(l.dir, l.active.first)); err != nil {
		return err
	}
	return l.takeOver(&fd)
}

// takeOver makes the head ours and writes down what was lost.
func (l *Log) takeOver(fd *found) error {
	l.tip, l.tipHex = fd.tip, fd.tip.hash.hex()
	l.tip.boot, l.tip.clean = bootID(), false
	l.checked = l.tip.seq
	full := createHead(l.dir, l.tip, l.key)
	if full != nil && !(noRoom(full) && l.headFits()) {
		return full
	}
	var err error
	if l.head, err = openHead(l.dir, l.key); err != nil {
		return err
	}
	if full != nil {
		l.rest() // the one slot that may be written without a record
	}
	for i := range fd.loss {
		if err := l.appendOwn(&fd.loss[i]); err != nil {
			return err
		}
	}
	l.losses = fd.loss
	return l.Sync()
}

// Losses are the records by which Open wrote down what is missing from the trail, or
// was changed.
func (l *Log) Losses() []Record { return l.losses }

// headFits reports whether the head that is there can be gone on with.
func (l *Log) headFits() bool {
	h, ok, err := readHead(l.dir, l.key)
	return err == nil && ok && h.torn == [slots]bool{} && !h.other && h.seq == l.tip.seq && h.hash == l.tip.hash
}

// release lets go of everything without another word to the trail.
func (l *Log) release() {
	if l.head != nil {
		_ = l.head.close()
	}
	if l.active != nil {
		_ = l.active.unmap()
		_ = l.active.file.Close()
	}
	_ = l.lock.Close()
}

// Waits reports whether Append waits for the disk.
func (l *Log) Waits() bool { return l.o.Synced }

// Append writes a record behind the last one, and sets its Seq, Prev and Hash,
// and its Time if that is zero. When it returns nil, the record survives the death
// of this process; with Options.Synced, that of the machine. After an error it
// has not been written, and what it stands for must not happen.
func (l *Log) Append(r *Record) error {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	e := l.encs.Get().(*encoder)
	e.encode(r)
	err := l.chain(r, e)
	l.encs.Put(e)
	if err == nil && l.o.Synced {
		err = l.waitSynced(r.Seq)
	}
	return err
}

// chain gives a record its place.
func (l *Log) chain(r *Record, e *encoder) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	err := l.tellRefused()
	if err == nil {
		err = l.put(r, e)
	}
	if err != nil {
		l.refused++
		l.stats.failed.Add(1)
		return fmt.Errorf("append to audit trail: %w", err)
	}
	if l.tip.seq-l.checked >= checkpointEveryN {
		l.checkpoint()
	}
	return nil
}

// tellRefused writes how many records could not be written, once one can again.
func (l *Log) tellRefused() error {
	if l.refused == 0 || l.broken != nil {
		return nil
	}
	if err := l.appendOwn(&Record{Kind: KindLoss, Reason: ReasonWriteFailed, Lost: l.refused}); err != nil {
		return err
	}
	l.refused = 0
	return nil
}

// appendOwn writes a record of the trail's own, under mu.
func (l *Log) appendOwn(r *Record) error {
	r.Time = time.Now()
	var e encoder
	e.encode(r)
	return l.put(r, &e)
}

// put writes a line and then the head, so that the head never names a record
// that is not there.
func (l *Log) put(r *Record, e *encoder) (err error) {
	if l.broken != nil {
		return l.broken
	}
	if !l.active.fits(e) {
		if err := l.rotate(e); err != nil {
			return err
		}
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer l.catchFault(&err)
	r.Seq, r.Prev = l.tip.seq+1, l.tip.hash
	begin := l.active.end
	r.Hash = l.active.write(r.Seq, e, &l.tipHex)
	l.active.newest = max(l.active.newest, r.Time.UnixNano())
	l.tip.seq, l.tip.hash, l.resting = r.Seq, r.Hash, false
	l.head.put(&l.tip)
	l.stats.appended.Add(1)
	l.stats.bytes.Add(uint64(l.active.end - begin))
	return nil
}

// catchFault turns a fault in a mapping into an error: the file was truncated
// under us, or the disk failed. Nothing can be trusted after that.
func (l *Log) catchFault(err *error) {
	if cause := recover(); cause != nil {
		l.broken = fmt.Errorf("write to %s: %v", l.active.path(), cause)
		*err = l.broken
	}
}

// rotate goes on in a new segment. If there can be none, the old one stays and
// the next Append tries again.
func (l *Log) rotate(e *encoder) error {
	if new(segment).room(e) > l.o.SegmentSize {
		return ErrTooLarge
	}
	next, err := createSegment(l.dir, l.tip.seq+1, l.o.SegmentSize)
	if err != nil {
		l.cramped.Store(true)
		return err
	}
	l.full = append(l.full, l.active)
	l.active = next
	l.stats.rotations.Add(1)
	select {
	case l.rotated <- struct{}{}:
	default:
	}
	return nil
}

// checkpoint vouches for the chain so far, under mu.
func (l *Log) checkpoint() {
	r := &Record{Kind: KindCheckpoint, MAC: checkpointMAC(l.key, l.tip.seq+1, l.tip.hash)}
	if err := l.appendOwn(r); err == nil {
		l.checked = r.Seq
	}
}

// checkpointMAC is over a checkpoint's place in the chain, and so over all before it.
func checkpointMAC(k keyed, seq uint64, prev Digest) (mac Digest) {
	k.sum(mac[:0], fmt.Appendf(nil, "outwarden checkpoint %d %s", seq, prev))
	return mac
}

// Close ends the trail so that the next Open finds nothing to mend.
func (l *Log) Close() error { return l.end((*segment).finish) }

// Leave is Close for a writer that comes at once: the segment keeps its room on the
// disk, which somebody else could take in between.
func (l *Log) Leave() error { return l.end((*segment).leave) }

func (l *Log) end(finish func(*segment) error) error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	l.stop()
	l.done.Wait()
	err := l.sealAll()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	err = errors.Join(err, finish(l.active))
	if err == nil && l.broken == nil {
		l.tip.synced, l.tip.clean = l.tip.seq, true
		l.rest()
	}
	return errors.Join(err, l.broken, l.head.sync(), l.head.close(), l.lock.Close())
}
