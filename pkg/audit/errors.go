package audit

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked is returned by Open while another process writes the trail.
	ErrLocked = errors.New("another process is writing this trail")
	// ErrClosed is returned by a Log after Close.
	ErrClosed = errors.New("audit trail is closed")
	// ErrTaken is returned once the trail is not where the next Open would look for it.
	ErrTaken = errors.New("somebody removed or moved it while it was written")
	// ErrTooLarge is returned for a record that fits in no segment.
	ErrTooLarge = errors.New("record is larger than a segment")
	// ErrNoTrail is returned where a directory holds no trail.
	ErrNoTrail = errors.New("no audit trail")
)

// LineError is a line of the trail that is no record.
type LineError struct {
	File string // name within the trail's directory
	Line int    // from 1
	Err  error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s line %d: %v", e.File, e.Line, e.Err)
}

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }
