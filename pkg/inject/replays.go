package inject

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// presented is a Signer that finds the signature which the workload itself made,
// in the place of its own: the text, and its time if that is told. "" is none.
type presented interface {
	presented(m Message) (signature string, at time.Time)
}

// RefuseReplays makes Admit refuse a signature that the workload sent before. It is
// called before the plan is used. realm keeps the routes that share a cache apart.
func (p *Plan) RefuseReplays(seen *replay.Cache, realm string) { p.seen, p.realm = seen, realm }

// Admit is asked once for each request of a workload, and not for what is sent
// again by ourselves. It fails closed: a signature that can't be remembered is
// refused. A request without a signature of its own is admitted. Errors wrap
// flow.ReasonReplayed or flow.ReasonReplayUnknown.
//
// The signature is not verified, so only the very same one is known again.
func (p *Plan) Admit(m Message, now time.Time) error {
	if p == nil || p.seen == nil {
		return nil
	}
	for _, s := range p.signers {
		from, ok := s.(presented)
		if !ok {
			continue
		}
		signature, at := from.presented(m)
		if signature == "" {
			continue
		}
		seen := replay.Message{KeyID: p.realm, Signature: []byte(signature), Untimed: at.IsZero()}
		if at.IsZero() {
			at = now
		}
		if err := p.seen.Accept(seen, at, now); err != nil {
			return fmt.Errorf("%w: %w", err, notNew(err))
		}
	}
	return nil
}

// notNew tells a message that is not new from one of which nobody can tell.
func notNew(err error) flow.Reason {
	if errors.Is(err, replay.ErrFull) || errors.Is(err, replay.ErrJournal) || errors.Is(err, replay.ErrSetBack) {
		return flow.ReasonReplayUnknown
	}
	return flow.ReasonReplayed
}

func (s *HMAC) presented(m Message) (string, time.Time) {
	return lastField(m, s.Scheme.Fields())
}

func (s *Template) presented(m Message) (string, time.Time) {
	return lastField(m, []string{s.Scheme.SignatureField()})
}

func (s *HTTPSig) presented(m Message) (string, time.Time) {
	return lastField(m, []string{"Signature"})
}

// presented is the signature in the header or the query; what can't be read is
// refused by Begin.
func (s *SigV4) presented(m Message) (string, time.Time) {
	r := awsRequest(m)
	in, err := sigv4.Parse(&r)
	if errors.Is(err, sigv4.ErrUnsigned) {
		return "", time.Time{}
	}
	return in.Signature, in.Time
}

// lastField is the value of the last of names, which is where a scheme has the
// signature. Other spellings of one value are one.
func lastField(m Message, names []string) (string, time.Time) {
	value, _ := m.Field(strings.ToLower(names[len(names)-1]))
	return strings.ToLower(strings.TrimRight(strings.TrimSpace(value), "=:")), time.Time{}
}
