package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
)

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

// printable is text of several lines for a terminal: names that others chose stand in
// errors, as those of files and programs.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = audit.Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// hintOf finds the first hint that any error in the chain has, or else what helps with
// an error of the system.
func hintOf(err error) string {
	return cmp.Or(ownHint(err), systemHint(err))
}

func ownHint(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch e := err.(type) { //nolint:errorlint // it walks the chain itself
	case interface{ Unwrap() error }:
		return ownHint(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if hint := ownHint(err); hint != "" {
				return hint
			}
		}
	}
	return ""
}

// systemHint is for what may happen to every command that reads or writes a file.
func systemHint(err error) string {
	where := "it"
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		where = e.Path
	}
	switch {
	case errors.As(err, new(config.Errors)):
		return "mend it there; `outwarden check` looks at it and starts nothing"
	case errors.Is(err, config.ErrRead) && !errors.Is(err, fs.ErrPermission):
		return "name the file with --config; without, it is " + config.DefaultPath + ", which need not exist"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "the file system or the quota is full: make room where " + where + " is (df -h, df -i)"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only: name another place in state_dir or run_dir, or mount it for writing"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return "root may: sudo outwarden ..."
	}
	return ""
}
