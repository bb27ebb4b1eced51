package h2

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// Conn is one end of an HTTP/2 connection. Its methods may be called from any
// goroutine, Serve once.
type Conn struct {
	net    net.Conn
	server bool
	o      Options
	accept func() Handler
	reader reader

	room  atomic.Int64 // streams that may still be opened; what Room says
	limit atomic.Int64 // what Limit says

	mu       sync.Mutex
	streams  map[uint32]*Stream
	lastPeer uint32 // the highest stream the peer opened
	nextOurs uint32
	dead     bool  // nothing is read or written any more
	err      error // why

	// What the peer asked of us, and what it has left of it.
	peerWindow  int // initial window of streams
	peerStreams int
	window      int  // bytes we may send on the connection
	settled     bool // its SETTINGS came

	// What we gave the peer.
	given     int  // bytes it may send on the connection
	credit    int  // consumed, not yet announced
	grown     int  // what the windows of streams have grown by
	confirmed bool // it knows our SETTINGS; until then it counts with the defaults

	// Going away.
	leaving bool // no new streams, from either side
	drain   drain

	out       []byte
	writing   bool
	wroteAt   time.Time // when the write that is under way began; zero: none is
	written   sync.Cond // writing became false
	enc       *encoder
	ready     queue
	notes     []note   // Room events to deliver once mu is free
	forgotten []uint32 // a ring, nil until it is needed
	forgot    int

	flood  flood
	active time.Time // when a stream was last open
	timer  *time.Timer
	ticks  int
}

// drain is how far a graceful end has come (RFC 9113 section 6.8).
type drain uint8

const (
	drainNot  drain = iota
	drainSaid       // GOAWAY with the largest id and a PING have left
	drainLast       // GOAWAY with the real last id has left
)

// NewServer makes the end that requests come to. accept makes the handler of a
// new stream, on the reader's goroutine, and must not use the Conn; nil refuses
// the stream. The Conn owns c.
func NewServer(c net.Conn, o Options, accept func() Handler) *Conn {
	h := newConn(c, o, true)
	h.accept = accept
	h.greet(nil)
	return h
}

// NewClient makes the end that sends requests. The Conn owns c.
func NewClient(c net.Conn, o Options) *Conn {
	h := newConn(c, o, false)
	h.nextOurs = 1
	h.greet([]byte(http2.ClientPreface), http2.Setting{ID: http2.SettingEnablePush})
	h.count()
	return h
}

func newConn(c net.Conn, o Options, server bool) *Conn {
	h := &Conn{
		net: c, server: server, o: o.withDefaults(server),
		streams: make(map[uint32]*Stream), enc: newEncoder(), active: time.Now(),
		peerWindow: initialWindow, peerStreams: presumedOpen, window: initialWindow,
	}
	h.written.L = &h.mu
	h.given = h.o.ConnWindow
	h.reader.init(h)
	return h
}

// greet puts the preface into the buffer (RFC 9113 section 3.4).
func (c *Conn) greet(preface []byte, more ...http2.Setting) {
	settings := append(more,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.o.StreamWindow)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.o.HeaderBytes)})
	if c.server {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.o.Streams)})
	}
	c.reserve(smallFrames)
	c.out = append(c.out, preface...)
	c.out = appendSettings(c.out, settings...)
	if n := c.o.ConnWindow - initialWindow; n > 0 {
		c.out = appendWindowUpdate(c.out, 0, n)
	}
}

// Serve reads until the connection ends and returns why; nil where either side
// left in good order. All streams have ended, the net.Conn is closed and no
// goroutine of c is left when it returns.
func (c *Conn) Serve() error {
	c.flush()
	c.startTimer()
	err := c.reader.run()
	return c.end(err)
}

// Room returns how many streams may be opened now: what the peer allows less
// those that are open; 0 when the connection takes none any more.
func (c *Conn) Room() int { return int(max(c.room.Load(), 0)) }

// Limit is how many streams the peer allows at once; 0 when the connection takes
// none any more.
func (c *Conn) Limit() int { return int(c.limit.Load()) }

// Alive reports whether the connection still serves.
func (c *Conn) Alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead && !c.leaving
}

// count keeps what Room says. mu is held.
func (c *Conn) count() {
	if c.server {
		return
	}
	n, limit := c.peerStreams-len(c.streams), c.peerStreams
	if c.dead || c.leaving || c.nextOurs > largestID {
		n, limit = 0, 0
	}
	c.room.Store(int64(n))
	c.limit.Store(int64(limit))
}
