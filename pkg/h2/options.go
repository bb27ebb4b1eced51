package h2

import "time"

// Options are the limits of one connection. The zero value means the defaults.
type Options struct {
	Streams      int           // streams the peer may have open; 256
	HeaderBytes  int           // field section, counted as RFC 9113 section 6.5.2 does; 64 KiB
	StreamWindow int           // bytes a stream may hold that were not consumed; 256 KiB
	ConnWindow   int           // the same for the connection; 1 MiB, as client 64 MiB
	Growth       int           // bytes that the windows of streams may grow by, all together; 0: they don't
	Idle         time.Duration // without a stream, then GOAWAY; 0: forever
	Stall        time.Duration // without progress where there could be some; 0: forever
	Patience     time.Duration // the shortest wait that a Handler counts by Tick events; 0: there are none

	// Beneath is what lies under TLS, where that can send the records of one write at
	// once. May be nil.
	Beneath Gatherer

	// Refused is told of requests that never reach a Handler. If err.Status is not
	// 0 it must answer on s; without Refused the bare status is sent.
	Refused func(b *Batch, s *Stream, r *Request, err *RequestError)
}

// Gatherer keeps what is written to it between Gather and Release.
type Gatherer interface {
	Gather()
	Release() error
}

// Limits that nobody needs to set.
const (
	maxFrame       = 16 << 10 // payload; the default of SETTINGS_MAX_FRAME_SIZE
	readSize       = 32 << 10 // a whole frame and more
	outSize        = 16 << 10
	bulkSize       = 96 << 10
	highWater      = 64 << 10 // no DATA is added to an output buffer that holds more
	oneRecord      = 16 << 10 // what TLS sends in one piece (RFC 8446 section 5.1)
	smallFrames    = 512      // room for some frames that are not DATA
	maxControl     = 1 << 20  // output that a peer that does not read may provoke
	maxHeads       = 8 << 20  // the same, of heads: 32 KiB for each of the streams
	maxTable       = 4 << 10  // HPACK dynamic table, either way (RFC 7541 section 4.2)
	maxFragments   = 64       // frames of one field section
	maxFields      = 512
	maxInterim     = 32    // responses of status 1xx on one stream; more are dropped
	maxNoise       = 2000  // frames that move nothing, beyond those that do
	maxEarned      = 20000 // the same, for what has been moved
	maxAborts      = 200   // streams reset or in error, beyond those that ended well
	presumedOpen   = 100   // streams we open before the peer's SETTINGS came
	initialWindow  = 65535
	maxWindow      = 1<<31 - 1
	widestStream   = 4 << 20 // what the window of one stream may grow to
	largestID      = 1<<31 - 1
	lingerTime     = 250 * time.Millisecond
	closeTime      = 2 * time.Second
	minimalTick    = 10 * time.Millisecond
	forgottenAfter = 256 // streams we reset whose late frames are forgiven
)

func (o Options) withDefaults(server bool) Options {
	orDefault(&o.Streams, 256)
	orDefault(&o.HeaderBytes, 64<<10)
	orDefault(&o.StreamWindow, 256<<10)
	if server {
		orDefault(&o.ConnWindow, 1<<20)
	}
	orDefault(&o.ConnWindow, 64<<20)
	o.ConnWindow = max(o.ConnWindow, initialWindow)
	return o
}

func orDefault(n *int, d int) {
	if *n <= 0 {
		*n = d
	}
}
