package authority

import (
	"errors"
	"fmt"

	"github.com/outwarden/outwarden/pkg/flow"
)

var (
	// ErrName is returned for a name no certificate is made for: not a host
	// name of letters, digits, hyphens and underscores, nor an IP address.
	ErrName = errors.New("not a name to make a certificate for")
	// ErrNotPermitted is returned for a name outside Options.Permitted.
	ErrNotPermitted = errors.New("name is outside the authority's constraints")
	// ErrBusy is returned when names are asked for faster than Options.MintRate. It
	// is a flow.Reason too.
	ErrBusy = fmt.Errorf("too many new names at once: %w", flow.ReasonNameLimit)
	// ErrNone is returned where there is no authority to look at.
	ErrNone = errors.New("there is no authority yet")
	// ErrExpired is returned when the root has expired and could not be renewed.
	ErrExpired = errors.New("root certificate has expired")
)

// StateError says what is wrong with the files of the authority.
type StateError struct {
	Path    string
	Problem string
	Advice  string
}

func (e *StateError) Error() string { return "authority " + e.Path + ": " + e.Problem }

// Hint is what the person at the keyboard can do about it.
func (e *StateError) Hint() string { return e.Advice }
