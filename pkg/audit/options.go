package audit

import "time"

// The defaults of Options.
const (
	DefaultSegmentSize     = 32 << 20
	DefaultSyncEvery       = time.Second
	DefaultCheckpointEvery = time.Minute

	minSegmentSize   = 64 << 10
	restEvery        = 100 * time.Millisecond
	checkpointEveryN = 10_000
)

// Options of a Log. The zero value is good.
type Options struct {
	// SegmentSize is how many bytes a segment has room for.
	SegmentSize int
	// Synced lets Append wait until the record is on disk.
	Synced bool
	// SyncEvery is how often the trail is put on disk otherwise.
	SyncEvery time.Duration
	// CheckpointEvery is how often a trail that grows gets a checkpoint.
	CheckpointEvery time.Duration
}

func (o *Options) fill() {
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	o.SegmentSize = max(o.SegmentSize, minSegmentSize)
	if o.SyncEvery <= 0 {
		o.SyncEvery = DefaultSyncEvery
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = DefaultCheckpointEvery
	}
}
