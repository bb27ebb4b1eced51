package handover

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Successor is a daemon that wants to take over, as the one that runs sees it: Offer,
// then Yield, and from then on its Remote. Where one fails, or we can't go on,
// Refuse.
type Successor struct {
	Version string
	PID     int // as the kernel says

	line *line
}

// Offer hands files over, which stay the caller's, and returns when the successor
// needs nothing more of us but our duties.
func (s *Successor) Offer(f *Files) error {
	if err := s.line.sendAll(&message{Descriptors: f.kinds, files: f.files}); err != nil {
		return err
	}
	return s.line.await(stepReady)
}

// Yield says that our duties are left, and returns when the successor has taken
// them up. serves is called before it learns that it may say so to others.
func (s *Successor) Yield(serves func()) (*Remote, error) {
	if err := s.line.send(&message{Step: stepYours}); err != nil {
		return nil, err
	}
	if err := s.line.await(stepServing); err != nil {
		return nil, err
	}
	serves()
	if err := s.line.send(&message{Step: stepLeaving}); err != nil {
		return nil, err
	}
	return newRemote(s.line), nil
}

// End makes sure that a successor that failed to take up our duties, or said nothing
// in time, will not come to itself once we go on, and lets go of what it was offered.
func (s *Successor) End(why error) {
	if !errors.Is(why, os.ErrDeadlineExceeded) && s.line.ended(Patience) {
		return
	}
	_ = unix.Kill(s.PID, unix.SIGKILL) // the line is open, so the pid is still its own
	s.line.ended(Patience)             // once the kernel has closed what it had, locks too
}

// Refuse tells a successor why it does not take over, and closes it.
func (s *Successor) Refuse(why error) {
	_ = s.line.send(&message{Failed: why.Error()})
	s.Close()
}

// Close ends the line, and with it the successor's Remote.
func (s *Successor) Close() { s.line.close() }
