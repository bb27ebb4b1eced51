package main

import "errors"

// usageError is a command line that can't be understood: exit 2.
type usageError struct {
	error
	hint string
}

// Hint says how the command line should look.
func (e usageError) Hint() string { return e.hint }

// exitError ends the program with a code of its own. With a nil err there is
// nothing to print, because somebody else did: the command that was run.
type exitError struct {
	err  error
	code int
}

func (e exitError) Error() string {
	if e.err == nil {
		return "exit"
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// hintedError is an error with something to do about it.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// Hint says what to do.
func (e hintedError) Hint() string { return e.hint }

func hinted(err error, hint string) error { return hintedError{err, hint} }

// hintOf finds the hint of any error in the chain.
func hintOf(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}
