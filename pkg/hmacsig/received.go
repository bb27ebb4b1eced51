package hmacsig

import (
	"crypto/hmac"
	"fmt"
	"strings"
	"time"
)

// Received is a signature that holds, or what it would have to be.
type Received struct {
	Time  time.Time // zero if the scheme signs none
	Nonce string    // "" likewise
	MAC   []byte    // for a replay cache, with the key's id
}

// maxSignatures is how many signatures of one message are tried.
const maxSignatures = 16

// Verify finds time, nonce and signature in m's Fields, where Sign would have
// put them, and returns them if secret made the signature; m's own Time and
// Nonce are not looked at. Errors: ErrMalformed (a field is missing, twice there
// or not in its form), ErrMismatch, ErrControlByte, ErrUnknownPreset. With
// ErrMismatch it returns what would match, for a replay cache and nobody else. A
// signature has one spelling. Whether the time lies in a window is for the caller.
func (s TemplateScheme) Verify(secret []byte, m *Message) (Received, error) {
	found := map[string][]string{}
	for i := range s.fields {
		if err := s.fields[i].find(m, found); err != nil {
			return Received{}, err
		}
	}
	if len(found["timestamp"]) > 1 || len(found["nonce"]) > 1 || len(found["signature"]) > maxSignatures {
		return Received{}, fmt.Errorf("%w: too many values", ErrMalformed)
	}
	out := Received{Nonce: first(found["nonce"])}
	if s.ambiguous(out.Nonce) {
		return Received{}, fmt.Errorf("%w: the nonce has what separates it from the rest", ErrMalformed)
	}
	timestamp := first(found["timestamp"])
	if timestamp != "" {
		var err error
		if out.Time, err = s.parseTime(timestamp); err != nil {
			return Received{}, err
		}
	} else if s.carries("timestamp") {
		return Received{}, fmt.Errorf("%w: no timestamp", ErrMalformed)
	}
	signed := *m
	signed.Nonce = out.Nonce
	sum, err := s.sum(secret, &signed, timestamp)
	if err != nil {
		return Received{}, err
	}
	out.MAC = sum
	if !s.covers("timestamp") {
		out.Time = time.Time{}
	}
	if !s.covers("nonce") {
		out.Nonce = ""
	}
	return out, s.matches(sum, found["signature"])
}

// ambiguous reports whether the text could be cut in another place behind the nonce:
// in "id.time.body" an id with a dot could have its end in the body that was signed.
func (s TemplateScheme) ambiguous(nonce string) bool {
	for i, p := range s.parts[:max(len(s.parts)-1, 0)] {
		if next := s.parts[i+1]; p.kind == "nonce" && next.text != "" && strings.Contains(nonce, next.text) {
			return true
		}
	}
	return false
}

// matches: one of the signatures is enough.
func (s TemplateScheme) matches(sum []byte, signatures []string) error {
	want := encoder(s.t.Encoding)(sum)
	err := error(ErrMalformed)
	for _, got := range signatures {
		if hmac.Equal([]byte(got), []byte(want)) {
			return nil
		}
		if len(got) == len(want) {
			err = ErrMismatch
		}
	}
	return err
}

func (s TemplateScheme) carries(kind string) bool {
	for _, f := range s.fields {
		for _, e := range f.elements {
			for _, p := range e {
				if p.kind == kind {
					return true
				}
			}
		}
	}
	return false
}

// find adds what one field carries to found.
func (f *fieldParts) find(m *Message, found map[string][]string) error {
	value, lines := "", 0
	for _, h := range m.Fields {
		if strings.EqualFold(h.Name, f.name) {
			value, lines = strings.Trim(h.Value, " \t"), lines+1
		}
	}
	if lines > 1 {
		return fmt.Errorf("%w: field %s twice", ErrMalformed, f.name)
	}
	if value == "" {
		return nil
	}
	if f.separator == "" {
		return f.element(value, found, true)
	}
	for e := range strings.SplitSeq(value, f.separator) {
		if err := f.element(e, found, false); err != nil {
			return err
		}
	}
	return nil
}

// element takes the variable out of the first element that text has the form of.
func (f *fieldParts) element(text string, found map[string][]string, strict bool) error {
	for _, parts := range f.elements {
		kind, before, after := "", "", ""
		for _, p := range parts {
			switch {
			case p.kind != "":
				kind = p.kind
			case kind == "":
				before = p.text
			default:
				after = p.text
			}
		}
		if len(text) > len(before)+len(after) && strings.HasPrefix(text, before) && strings.HasSuffix(text, after) {
			found[kind] = append(found[kind], text[len(before):len(text)-len(after)])
			return nil
		}
	}
	if strict {
		return fmt.Errorf("%w: field %s", ErrMalformed, f.name)
	}
	return nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
