package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/replay"
)

// ErrExampleKey is returned for a key that is printed in a specification.
var ErrExampleKey = errors.New("the key is an example that is public")

// HTTPSig puts a message signature (RFC 9421) on requests.
type HTTPSig struct {
	Name, Version string // of the key
	Key           *httpsig.Key
	Label, Tag    string
	// Components are covered, and Optional where the request has them.
	Components, Optional []httpsig.Component
	// Digests are the algorithms of a Content-Digest that is written; none: the
	// workload's own stays.
	Digests []string
	Life    time.Duration // from created to expires; 0: it does not expire
	Bot     bool          // sign as Web Bot Auth; Components and Digests have no say
	Agent   string        // its Signature-Agent, "" = none
	Clock   *replay.Clock // no two signatures of a key have one time
}

var _ Signer = (*HTTPSig)(nil)

// Check signs a request once: whether the key can.
func (s *HTTPSig) Check() error {
	if s.Key == nil {
		return ErrEmpty
	}
	if httpsig.ExampleKey(s.Key) {
		return ErrExampleKey
	}
	probe := httpsig.Message{Method: "GET", Authority: "example.com", Target: "/"}
	_, err := (&httpsig.Signer{Label: "probe", Key: s.Key}).Sign(&probe, httpsig.Params{})
	if err == nil && s.Bot {
		_, err = httpsig.SignBot(&probe, s.Key, s.Agent, time.Unix(0, 0), s.Life, "n")
	}
	return err
}

// Use names the key.
func (s *HTTPSig) Use() Use { return Use{s.Name, s.Version, Signed.String()} }

// Fields are those of the signature and of what is written for it.
func (s *HTTPSig) Fields() []string {
	fields := []string{"Signature-Input", "Signature"}
	if len(s.Digests) > 0 && !s.Bot {
		fields = append(fields, "Content-Digest")
	}
	if s.Agent != "" {
		fields = append(fields, "Signature-Agent")
	}
	return fields
}

// Begin has nothing to look at.
func (s *HTTPSig) Begin(Message) (Signing, error) { return s, nil }

// Gathers is true where a digest stands before the content.
func (s *HTTPSig) Gathers() bool { return len(s.Digests) > 0 && !s.Bot }

// Sign writes the digest, and then the signature over it.
func (s *HTTPSig) Sign(m Message, content []byte, now time.Time) (Signature, error) {
	if err := checkTarget(m.Target()); err != nil {
		return Signature{}, err
	}
	if s.Gathers() {
		digest, err := httpsig.Digest(content, s.Digests...)
		if err != nil {
			return Signature{}, err
		}
		m.Add("Content-Digest", []byte(digest))
	}
	at, nonce := s.Clock.Rise(s.Name, now), httpsig.NewNonce()
	fields, err := s.sign(m, at, nonce)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	for _, f := range fields {
		m.Add(f.Name, []byte(f.Value))
	}
	return Signature{Scheme: "httpsig", KeyID: s.keyID(), Nonce: nonce, Timestamp: at.Unix()}, nil
}

func (s *HTTPSig) sign(m Message, at time.Time, nonce string) ([]httpsig.Field, error) {
	message := httpsig.Message{Method: m.Method(), Authority: m.Authority(), Target: m.Target()}
	for name, value := range asRead(m) {
		message.Fields = append(message.Fields, httpsig.Field{Name: name, Value: value})
	}
	if s.Bot {
		return httpsig.SignBot(&message, s.Key, s.Agent, at, s.Life, nonce)
	}
	signer := httpsig.Signer{Label: s.Label, Key: s.Key, Components: slices.Clone(s.Components)}
	for _, c := range s.Optional {
		if c.In(&message) {
			signer.Components = append(signer.Components, c)
		}
	}
	params := httpsig.Params{Created: at, Nonce: nonce, Alg: string(s.Key.Algorithm()), Tag: s.Tag}
	if s.Life > 0 {
		params.Expires = at.Add(s.Life)
	}
	return signer.Sign(&message, params)
}

func (s *HTTPSig) keyID() string {
	if id := s.Key.ID(); id != "" {
		return id
	}
	return strings.TrimSpace(s.Name)
}
