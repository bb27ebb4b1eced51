package main

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// unread is what a daemon writes to whoever reads its log, and never waits for: one
// that stops reading, as a pager does or a journal that hangs, would stop all that
// has something to say. What finds no room is lost, and told once there is some.
type unread struct {
	to      io.Writer
	queue   chan []byte // lines; nil: flushed is to be closed
	lost    atomic.Uint64
	tell    func(lost uint64) []byte // as a line
	flushed chan struct{}
}

const (
	mostUnread    = 256 // lines
	flushPatience = time.Second
)

// newUnread begins to write to it.
func newUnread(to io.Writer, tell func(lost uint64) []byte) *unread {
	u := &unread{to: to, queue: make(chan []byte, mostUnread), tell: tell, flushed: make(chan struct{})}
	go u.run()
	return u
}

// Write takes a line, or counts it.
func (u *unread) Write(line []byte) (int, error) {
	select {
	case u.queue <- append([]byte{}, line...):
	default:
		u.lost.Add(1)
	}
	return len(line), nil
}

func (u *unread) run() {
	for line := range u.queue {
		if line == nil {
			close(u.flushed)
			return
		}
		_, _ = u.to.Write(line) // who reads it may be gone
		if n := u.lost.Swap(0); n > 0 {
			_, _ = u.to.Write(u.tell(n))
		}
	}
}

// flush waits for what was written before, but not for ever. Nothing is written after.
func (u *unread) flush() {
	patience := time.NewTimer(flushPatience)
	defer patience.Stop()
	select {
	case u.queue <- nil:
	case <-patience.C:
		return
	}
	select {
	case <-u.flushed:
	case <-patience.C:
	}
}

// newLog is a daemon's log. What the command says from now on, and why it ends, goes
// there by the same way, until flush.
func newLog(e *env) *logrus.Logger {
	log := logrus.New()
	u := newUnread(e.stderr, func(lost uint64) []byte {
		entry := log.WithField("lines", lost).WithTime(time.Now())
		entry.Level, entry.Message = logrus.ErrorLevel, "nobody read the log, and what else was said is lost"
		line, _ := log.Formatter.Format(entry)
		return line
	})
	e.stderr, e.flush = u, u.flush
	log.SetOutput(u)
	if !e.errTerminal {
		log.SetFormatter(&logrus.JSONFormatter{})
	}
	return log
}
