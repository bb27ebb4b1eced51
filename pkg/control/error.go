package control

import (
	"errors"
	"net/http"
)

// Error is a refusal as it crosses the socket.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Tip     string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Hint says what to do about it; "" if there is nothing to say.
func (e *Error) Hint() string { return e.Tip }

// Is makes a daemon that is leaving count as none: the one after it will answer.
func (e *Error) Is(target error) bool {
	return target == ErrNoDaemon && e.Status == http.StatusServiceUnavailable
}

// asError makes any error fit to cross the socket, with its hint.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Status: http.StatusUnprocessableEntity, Message: err.Error()}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		e.Tip = h.Hint()
	}
	return e
}
