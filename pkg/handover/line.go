package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long one daemon waits for a step of the other.
const Patience = 30 * time.Second

// Longest is how long the daemon that runs may be busy with a hand-over, beside
// what its duties take to be left: it waits twice for a step and twice for a
// successor's end, for the trail, and for what it sends.
const Longest = 6 * Patience

// line is what two daemons say to one another when one relieves the other:
// messages, some with descriptors.
type line struct {
	conn     *net.UnixConn
	messages *json.Decoder
	received []*os.File // and not taken by a message yet

	mu sync.Mutex // held while a message is written
}

// message is one step; or a question of the daemon that drains, which is a record
// to be written or a signature that may have been seen; or the answer to one.
type message struct {
	Terms       *Terms          `json:"terms,omitempty"`
	Descriptors []Kind          `json:"descriptors,omitempty"` // what the descriptors are that come with it
	More        bool            `json:"more,omitempty"`        // descriptors follow
	Step        step            `json:"step,omitempty"`
	Failed      string          `json:"failed,omitempty"` // why the other side can't go on
	ID          uint64          `json:"id,omitempty"`     // of a question, and of its answer
	Record      json.RawMessage `json:"record,omitempty"`
	Replay      *signature      `json:"replay,omitempty"`

	files []*os.File // the descriptors themselves; the receiver closes them
}

// step of a hand-over; see doc.go.
type step string

const (
	stepReady   step = "ready"   // the successor can do without the other, once it has its duties
	stepYours   step = "yours"   // the daemon that runs has left them
	stepServing step = "serving" // the successor has taken them up
	stepLeaving step = "leaving" // the other accepts no more
)

// maxFiles is how many descriptors one message may carry; the kernel takes 253.
const maxFiles = 200

func newLine(c *net.UnixConn) *line {
	l := &line{conn: c}
	l.messages = json.NewDecoder(l)
	return l
}

// Read is for the decoder: it keeps the descriptors that come along, in order.
func (l *line) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(b, oob)
	if err == nil && n == 0 {
		err = io.EOF // which ReadMsgUnix does not know
	}
	n = max(n, 0) // it says -1 with an error, at which the decoder panics
	if oobn > 0 {
		l.take(oob[:oobn])
	}
	return n, err
}

func (l *line) take(oob []byte) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return // a message will miss its descriptors, and say so
	}
	for i := range controls {
		fds, _ := unix.ParseUnixRights(&controls[i]) // nil for others
		for _, fd := range fds {
			l.received = append(l.received, os.NewFile(uintptr(fd), "handed over"))
		}
	}
}

// send writes a message. Its files stay the sender's. A line of which nobody reads
// any more is ended: half a message may be on it.
func (l *line) send(m *message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	err = withFDs(m.files, nil, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		n, _, err := l.conn.WriteMsgUnix(b, rights, nil)
		if err == nil && n < len(b) { // a stream may take less, but the rights go with the first byte
			_, err = l.conn.Write(b[n:])
		}
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = l.conn.CloseWrite()
	}
	return err
}

// sendAll is send for any number of files.
func (l *line) sendAll(m *message) error {
	rest := *m
	for n := maxFiles; len(rest.files) > n; {
		part := message{Descriptors: rest.Descriptors[:n], files: rest.files[:n], More: true}
		if err := l.send(&part); err != nil {
			return err
		}
		rest.Descriptors, rest.files = rest.Descriptors[n:], rest.files[n:]
	}
	return l.send(&rest)
}

// receive waits for a message, at most so long unless that is zero.
func (l *line) receive(patience time.Duration) (*message, error) {
	deadline := time.Time{}
	if patience > 0 {
		deadline = time.Now().Add(patience)
	}
	if err := l.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	var m message
	if err := l.messages.Decode(&m); err != nil {
		return nil, err
	}
	if len(m.Descriptors) > len(l.received) {
		return nil, fmt.Errorf("%d descriptors came, %d were told of", len(l.received), len(m.Descriptors))
	}
	m.files = l.received[:len(m.Descriptors)]
	l.received = l.received[len(m.Descriptors):]
	if m.Failed != "" && m.ID == 0 {
		closeAll(m.files)
		return nil, errors.New(m.Failed)
	}
	return &m, nil
}

// await waits for a step.
func (l *line) await(s step) error {
	m, err := l.receive(Patience)
	if err != nil {
		return err
	}
	closeAll(m.files) // of a version that sends some with it
	if m.Step != s {
		return fmt.Errorf("%q came where %q was due", m.Step, s)
	}
	return nil
}

// ended waits for the end of the other side, whatever it says until then, and
// reports whether it came in time. The decoder is of no use after a deadline.
func (l *line) ended(patience time.Duration) bool {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, l.conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// hungUp reports whether an error is that the other side is not there any more. One
// that refuses to go on says so before.
func hungUp(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// close ends the line.
func (l *line) close() {
	_ = l.conn.Close()
	closeAll(l.received)
}
