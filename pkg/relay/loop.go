package relay

import (
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// batch is how many events one look at an epoll set takes.
const batch = 128

// edges is what a socket is watched for. That there is room to write it says only
// where that was asked for: it nearly always is there.
const edges = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET

// loop is one epoll set and the goroutine that serves it.
type loop struct {
	epoll  int
	file   *os.File // the set, as the runtime's poller knows it; nil before start
	done   chan struct{}
	spare  spare
	events [batch]unix.EpollEvent
	surge  surge

	mu     sync.Mutex
	last   uint32
	conns  map[uint32]*conn
	doors  map[uint32]*Door
	closed bool
}

// start makes the epoll set a file that the runtime waits for: a thread that
// sits in epoll_wait(2) would hold a processor that others need.
func (l *loop) start() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	l.epoll, l.file = fd, os.NewFile(uintptr(fd), "epoll")
	l.conns, l.doors, l.done = make(map[uint32]*conn), make(map[uint32]*Door), make(chan struct{})
	if err := l.file.SetReadDeadline(time.Time{}); err != nil {
		return err // the runtime does not wait for it
	}
	rc, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		defer close(l.done)
		_ = rc.Read(func(uintptr) (stop bool) { l.turn(); return false }) // until the file is closed
		l.abort()
		l.spare.close()
	}()
	return nil
}

// turn handles what has happened so far. Whatever happens from then on wakes the
// goroutine anew, as the set becomes readable again.
func (l *loop) turn() {
	l.surge.begin()
	defer l.surge.end()
	for {
		n := epollWait(l.epoll, l.events[:])
		for _, e := range l.events[:n] {
			l.handle(uint32(e.Fd), e.Pad, e.Events)
		}
		if n < batch {
			return
		}
	}
}

func (l *loop) handle(id uint32, which int32, events uint32) {
	if which == front {
		if d := l.door(id); d != nil {
			d.knock()
		}
		return
	}
	if c := l.conn(id); c != nil {
		c.handle(which, events)
	}
}

// conn is the connection with an id; nil once it is over, when events of the
// same batch may still name it.
func (l *loop) conn(id uint32) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns[id]
}

func (l *loop) door(id uint32) *Door {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doors[id]
}

// admit gives a door its number, or takes it back.
func (l *loop) admit(d *Door, in bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !in {
		delete(l.doors, d.id)
		return
	}
	for d.id++; l.doors[d.id] != nil; d.id++ {
	}
	l.doors[d.id] = d
}

// add watches sides of c, which ripens after some time.
func (l *loop) add(c *conn, ripe time.Duration, sides ...int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	for l.last++; l.conns[l.last] != nil; l.last++ {
	}
	l.conns[l.last] = c
	return c.begin(l, l.last, ripe, sides)
}

func (l *loop) remove(c *conn) {
	l.mu.Lock()
	delete(l.conns, c.id)
	l.mu.Unlock()
}

// close aborts everything and ends the goroutine.
func (l *loop) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if l.file == nil {
		return
	}
	_ = l.file.Close()
	<-l.done
}

func (l *loop) finish() {
	for _, c := range l.all() {
		c.finish()
	}
}

func (l *loop) abort() {
	for _, c := range l.all() {
		c.abort(ErrClosed)
	}
}

// all are the connections of this moment. They are ended without the lock, which
// each takes to be forgotten.
func (l *loop) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.conns))
}
