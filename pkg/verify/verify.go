package verify

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/outwarden/outwarden/pkg/replay"
)

var (
	// ErrUntimed is returned for a signature that says no time, where one must.
	ErrUntimed = errors.New("signature has no time, so a replay could not be told")
	// ErrUncovered is returned for a valid signature that leaves out what it must cover.
	ErrUncovered = errors.New("signature does not cover enough of the request")
	// ErrKey is returned for a signature by a key that is not known.
	ErrKey = errors.New("signature is by no known key")
	// ErrOptions is returned for settings that verify nothing.
	ErrOptions = errors.New("verify: a window, a scheme and a key are needed")
)

// Proof is what a signature that holds says.
type Proof struct {
	Scheme string // "knoxcall", "httpsig", "sigv4" and the like
	KeyID  string
	Nonce  string    // "" = none
	Time   time.Time // when it was made; zero: it does not say

	// signatures are all by which this request could come again, each in the form
	// that its spellings have in common. Their order does not hang on which came.
	signatures []replay.Message
}

// add takes one more signature, of a key, and its nonce. Keys that share an id share
// their nonces: what stands for two signatures is taken once.
func (p *Proof) add(s replay.Message) {
	for _, known := range p.signatures {
		if known.KeyID != s.KeyID {
			continue
		}
		if bytes.Equal(known.Signature, s.Signature) {
			return
		}
		if known.Nonce == s.Nonce {
			s.Nonce = ""
		}
	}
	p.signatures = append(p.signatures, s)
}

// Scheme finds the signature of a request and checks it. It looks at no clock but
// now, and remembers nothing.
type Scheme interface {
	// Check returns what the signature proves, or why it proves nothing.
	Check(r *Request, now time.Time) (Proof, error)
}

// Options are a Verifier's settings.
type Options struct {
	Window time.Duration // how old a signature may be
	Skew   time.Duration // how far its time may lie ahead
	// Seen remembers what was accepted; it must have this Window and Skew. nil: replays
	// are not looked for.
	Seen *replay.Cache
	// MaxBody is how many bytes of a body are read; 0: 16 MiB.
	MaxBody int64
	// Timeless accepts signatures that say no time.
	Timeless bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

const defaultBody = 16 << 20

// Verifier checks requests by one scheme. It may be used by several goroutines.
type Verifier struct {
	scheme Scheme
	o      Options
}

// New returns a Verifier, ErrOptions where o says too little.
func New(s Scheme, o Options) (*Verifier, error) {
	if s == nil || o.Window <= 0 || o.Skew < 0 || o.MaxBody < 0 {
		return nil, ErrOptions
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultBody
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{s, o}, nil
}

// Verify returns what r's signature proves. The errors are those of the scheme's
// package, ErrUntimed, ErrUncovered, ErrKey, and replay's: ErrStale, ErrSetBack,
// ErrEarly, ErrReplayed, ErrFull, ErrJournal. A request that was verified is remembered.
func (v *Verifier) Verify(r *Request) (Proof, error) {
	now := v.o.Now()
	p, err := v.scheme.Check(r, now)
	if err != nil {
		return Proof{}, err
	}
	if err := v.inWindow(&p, now); err != nil {
		return Proof{}, err
	}
	if err := v.remember(&p, now); err != nil {
		return Proof{}, err
	}
	return p, nil
}

// remember takes every signature for new. Of two requests with a signature in common
// at least one finds it taken, also where both come at once.
func (v *Verifier) remember(p *Proof, now time.Time) error {
	if v.o.Seen == nil {
		return nil
	}
	at := p.Time
	if at.IsZero() {
		at = now
	}
	for _, s := range p.signatures {
		s.Untimed = p.Time.IsZero()
		if err := v.o.Seen.Accept(s, at, now); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verifier) inWindow(p *Proof, now time.Time) error {
	switch {
	case p.Time.IsZero() && !v.o.Timeless:
		return ErrUntimed
	case p.Time.IsZero():
		return nil
	case p.Time.Before(now.Add(-v.o.Window)):
		return fmt.Errorf("%w: it was signed %s ago, allowed are %s", replay.ErrStale, now.Sub(p.Time).Round(time.Second), v.o.Window)
	case p.Time.After(now.Add(v.o.Skew)):
		return fmt.Errorf("%w: it was signed %s ahead, allowed are %s", replay.ErrEarly, p.Time.Sub(now).Round(time.Second), v.o.Skew)
	}
	return nil
}
