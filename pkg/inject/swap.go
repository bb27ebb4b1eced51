package inject

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/secret"
)

// Places is where on a request a placeholder is looked for.
type Places uint8

// The places.
const (
	InHeader Places = 1 << iota // values of fields, and what is packed in Basic
	InQuery
	InPath
	InBody
)

// swap is a placeholder and what leaves in its place.
type swap struct {
	placeholder string
	in          Places
	value       secret.Value
	use         Use
	name        string
}

// mostSwaps is how many placeholders one route can have.
const mostSwaps = 64

// hits are the swaps of a plan that a request asked for.
type hits uint64

func (h *hits) add(i int) { *h |= 1 << i }

// applied is what a plan did to a request that asked for these.
func (p *Plan) applied(h hits) Applied {
	done := Applied{Credentials: p.uses}
	for i := range p.swaps {
		if s := &p.swaps[i]; h&(1<<i) != 0 {
			done.Credentials = append(slices.Clip(done.Credentials), s.use)
		}
	}
	return done
}

func (s *swap) injected() Injected { return Injected{s.name, s.value, s.placeholder} }

func (p *Plan) addSwap(c *Credential) error {
	switch v := string(c.Value.Reveal()); {
	case len(c.Placeholder) < leastLetters || strings.Trim(c.Placeholder, placeholderLetters+"_-.") != "":
		return ErrPlaceholder
	case strings.Contains(v, c.Placeholder) || strings.Contains(c.Placeholder, v):
		return fmt.Errorf("placeholder is the secret: %w", ErrValue)
	case len(p.swaps) == mostSwaps:
		return fmt.Errorf("over %d placeholders: %w", mostSwaps, ErrSlotTaken)
	case c.In&InBody != 0 && !utf8.ValidString(v):
		return fmt.Errorf("not UTF-8, as a body may be: %w", ErrValue)
	case c.In == 0:
		return fmt.Errorf("placeholder without a place: %w", ErrField)
	case v != strings.Trim(v, " \t"):
		return fmt.Errorf("begins or ends with white space: %w", ErrValue)
	case c.In&InPath != 0 && (v == "." || v == ".."):
		return fmt.Errorf("a dot segment: %w", ErrValue)
	}
	for i := range p.swaps {
		if a, b := p.swaps[i].placeholder, c.Placeholder; strings.Contains(a, b) || strings.Contains(b, a) {
			return fmt.Errorf("placeholder: %w", ErrSlotTaken)
		}
	}
	p.swaps = append(p.swaps, swap{c.Placeholder, c.In, c.Value, Use{c.Name, c.Version, c.Form.String()}, c.Name})
	p.swapsBody = p.swapsBody || c.In&InBody != 0
	return nil
}

// swapField returns the value of a field with credentials in the place of
// placeholders.
func (p *Plan) swapField(name, value string, h *hits) (swapped string, changed bool) {
	for i := range p.swaps {
		s := &p.swaps[i]
		if s.in&InHeader == 0 {
			continue
		}
		if strings.Contains(value, s.placeholder) {
			value, changed = strings.ReplaceAll(value, s.placeholder, string(s.value.Reveal())), true
			h.add(i)
		}
		if pair, ok := basicPair(name, value); ok && strings.Contains(pair, s.placeholder) {
			pair = strings.ReplaceAll(pair, s.placeholder, string(s.value.Reveal()))
			value, changed = value[:len("Basic ")]+base64.StdEncoding.EncodeToString([]byte(pair)), true
			h.add(i)
		}
	}
	return value, changed
}

// basicPair is what Basic credentials say in clear (RFC 7617).
func basicPair(name, value string) (string, bool) {
	const basic = "basic "
	if !equalFold(name, "authorization") && !equalFold(name, "proxy-authorization") || len(value) < len(basic) || !equalFold(value[:len(basic)], basic) {
		return "", false
	}
	pair, err := base64.StdEncoding.DecodeString(strings.Trim(value[len(basic):], " "))
	return string(pair), err == nil
}

// swapTarget does the same for path and query.
func (p *Plan) swapTarget(m Message, h *hits) {
	target := m.Target()
	path, query, asked := strings.Cut(target, "?")
	for i := range p.swaps {
		s := &p.swaps[i]
		if s.in&InPath != 0 && strings.Contains(path, s.placeholder) {
			path = strings.ReplaceAll(path, s.placeholder, string(escape(nil, s.value.Reveal())))
			h.add(i)
		}
		if s.in&InQuery != 0 && strings.Contains(query, s.placeholder) {
			query = strings.ReplaceAll(query, s.placeholder, string(escape(nil, s.value.Reveal())))
			h.add(i)
		}
	}
	if asked {
		path += "?" + query
	}
	if path != target {
		m.SetTarget([]byte(path))
	}
}

// swapBody does the same for content, in the way that its type writes values. What
// would grow over the limit is not made first.
func (p *Plan) swapBody(content []byte, media string, limit int64, h *hits) ([]byte, error) {
	for i := range p.swaps {
		s := &p.swaps[i]
		if s.in&InBody == 0 {
			continue
		}
		count := bytes.Count(content, []byte(s.placeholder))
		if count == 0 {
			continue
		}
		value := s.value.Reveal()
		switch {
		case media == "application/json" || strings.HasSuffix(media, "+json"):
			value = quoted(value)
		case media == "application/x-www-form-urlencoded":
			value = escape(nil, value)
		case media == "text/xml" || media == "application/xml" || strings.HasSuffix(media, "+xml"):
			value = escapeXML(value)
		}
		if int64(len(content))+int64(count)*int64(len(value)-len(s.placeholder)) > limit {
			return nil, errGrown
		}
		content = bytes.ReplaceAll(content, []byte(s.placeholder), value)
		h.add(i)
	}
	return content, nil
}

// escapeXML is good for text and for attributes.
func escapeXML(value []byte) []byte {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, value) // into memory
	return b.Bytes()
}

// quoted is the inside of a JSON string.
func quoted(value []byte) []byte {
	q := quote(value)
	return q[1 : len(q)-1]
}

// Placeholders are all that a configuration knows, for who looks whether one is
// where it does not belong: it got there from a workload that holds it, so
// something there tries to take the credential elsewhere.
type Placeholders struct {
	all []bait
}

type bait struct {
	placeholder, name string
	plan              *Plan
}

// NewPlaceholders returns those of the plans; nil if they have none.
func NewPlaceholders(plans ...*Plan) *Placeholders {
	var all []bait
	for _, p := range plans {
		if p == nil {
			continue
		}
		for i := range p.swaps {
			all = append(all, bait{p.swaps[i].placeholder, p.swaps[i].name, p})
		}
	}
	if all == nil {
		return nil
	}
	return &Placeholders{all}
}

// Misused looks for a placeholder in target and head of a request under plan (nil:
// none) that plan does not have, and returns the name of its credential. Nil
// Placeholders find nothing. Content is not searched.
func (p *Placeholders) Misused(m Message, plan *Plan) (name string, misused bool) {
	if p == nil {
		return "", false
	}
	for i := range p.all {
		b := &p.all[i]
		if b.plan != plan && b.in(m) && !plan.swapsFor(b.placeholder) {
			return b.name, true
		}
	}
	return "", false
}

func (b *bait) in(m Message) bool {
	if strings.Contains(m.Target(), b.placeholder) {
		return true
	}
	for name, value := range m.Fields {
		pair, _ := basicPair(name, value)
		if strings.Contains(value, b.placeholder) || strings.Contains(pair, b.placeholder) {
			return true
		}
	}
	return false
}

func (p *Plan) swapsFor(placeholder string) bool {
	if p == nil {
		return false
	}
	for i := range p.swaps {
		if p.swaps[i].placeholder == placeholder {
			return true
		}
	}
	return false
}
