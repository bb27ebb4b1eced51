package httpsig

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/dunglas/httpsfv"
)

// Signer makes one signature on each message.
type Signer struct {
	Label      string // "sig1"; a key of RFC 9651
	Key        *Key
	Components []Component
	// Order of the parameters; nil: created, expires, keyid, alg, nonce, tag. What it
	// leaves out is not sent.
	Order []string
}

// Sign returns Signature-Input and Signature, each a field line to add behind
// those that m has. p.KeyID is the key's id if it is empty. Errors: ErrComponent,
// ErrLabel (m has a signature of that label), ErrKey, ErrMalformed.
func (s *Signer) Sign(m *Message, p Params) ([]Field, error) {
	if p.KeyID == "" {
		p.KeyID = s.Key.id
	}
	if p.Alg != "" && p.Alg != string(s.Key.alg) {
		return nil, fmt.Errorf("%w: alg %q", ErrKey, p.Alg)
	}
	if err := s.labelFree(m); err != nil {
		return nil, err
	}
	in, err := newInput(s.Components, p, s.Order)
	if err != nil {
		return nil, err
	}
	base, err := in.base(m)
	if err != nil {
		return nil, err
	}
	signature, err := s.Key.sign(base)
	if err != nil {
		return nil, err
	}
	return []Field{
		{"Signature-Input", s.Label + "=" + in.text},
		{"Signature", s.Label + "=:" + base64.StdEncoding.EncodeToString(signature) + ":"},
	}, nil
}

// Base is the signature base that Sign signs, to show where two sides differ.
func (s *Signer) Base(m *Message, p Params) (string, error) {
	if p.KeyID == "" {
		p.KeyID = s.Key.id
	}
	in, err := newInput(s.Components, p, s.Order)
	if err != nil {
		return "", err
	}
	base, err := in.base(m)
	return string(base), err
}

// ValidLabel reports whether a signature can be called so: a key of RFC 9651.
func ValidLabel(label string) bool {
	probe := httpsfv.NewDictionary()
	probe.Add(label, httpsfv.NewItem(true))
	text, err := httpsfv.Marshal(probe)
	return err == nil && text == label
}

func (s *Signer) labelFree(m *Message) error {
	if !ValidLabel(s.Label) {
		return fmt.Errorf("%w: %q", ErrLabel, s.Label)
	}
	for _, name := range [...]string{"signature-input", "signature"} {
		dict, err := httpsfv.UnmarshalDictionary(lines(m.Fields, name))
		if err != nil {
			return fmt.Errorf("%w: %s", ErrMalformed, name)
		}
		if _, taken := dict.Get(s.Label); taken {
			return fmt.Errorf("%w: %q", ErrLabel, s.Label)
		}
	}
	return nil
}

// NewNonce returns 512 random bits in base64, as Web Bot Auth asks for.
func NewNonce() string {
	var b [64]byte
	_, _ = rand.Read(b[:]) // never fails: the runtime ends the process instead
	return base64.StdEncoding.EncodeToString(b[:])
}

// BotTag is the tag of Web Bot Auth (draft-meunier-web-bot-auth-architecture).
const BotTag = "web-bot-auth"

// SignBot signs m as Web Bot Auth: @authority and, if agent (a URL) is not empty,
// a Signature-Agent field, which is returned too. The key's id becomes its
// thumbprint, so it must have a public part; the draft wants no more than a day
// of life.
func SignBot(m *Message, key *Key, agent string, created time.Time, life time.Duration, nonce string) ([]Field, error) {
	id, err := Thumbprint(key.public)
	if err != nil {
		return nil, err
	}
	if life < time.Second || life > 24*time.Hour {
		return nil, fmt.Errorf("%w: a life of %s", ErrPolicy, life)
	}
	names := []string{"@authority"}
	signed := *m
	var agents []Field
	if agent != "" {
		quoted, err := httpsfv.Marshal(httpsfv.NewItem(agent))
		if err != nil {
			return nil, fmt.Errorf("%w: Signature-Agent", ErrMalformed)
		}
		if len(lines(m.Fields, "signature-agent")) > 0 {
			return nil, fmt.Errorf("%w: the message has a Signature-Agent of its own", ErrComponent)
		}
		agents = []Field{{"Signature-Agent", quoted}}
		signed.Fields = append(m.Fields[:len(m.Fields):len(m.Fields)], agents...)
		names = append(names, "signature-agent")
	}
	components, err := Components(names...)
	if err != nil {
		return nil, err
	}
	s := &Signer{Label: "sig1", Key: key, Components: components}
	fields, err := s.Sign(&signed, Params{
		Created: created, Expires: created.Add(life), KeyID: id, Alg: string(key.alg), Nonce: nonce, Tag: BotTag,
	})
	return append(agents, fields...), err
}
