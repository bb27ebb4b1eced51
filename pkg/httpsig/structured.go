package httpsig

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dunglas/httpsfv"
)

// FieldType is the kind of a structured field (RFC 9651 section 3).
type FieldType uint8

// The kinds of structured fields.
const (
	Dictionary FieldType = iota + 1
	List
	Item
)

// fieldType is the kind of a registered structured field, 0 for all others.
func fieldType(name string) FieldType {
	switch name {
	case "content-digest", "repr-digest", "want-content-digest", "want-repr-digest", "signature", "signature-input",
		"accept-signature", "priority", "cdn-cache-control", "permissions-policy", "reporting-endpoints", "no-vary-search",
		"use-as-dictionary":
		return Dictionary
	case "cache-status", "proxy-status", "client-cert-chain", "accept-ch", "accept-query":
		return List
	case "client-cert", "capsule-protocol", "origin-agent-cluster", "signature-agent", "cross-origin-opener-policy",
		"cross-origin-embedder-policy", "deprecation", "available-dictionary", "dictionary-id", "sec-gpc":
		return Item
	}
	return 0
}

// strict is the field serialised anew (RFC 9421 section 2.1.1).
func strict(values []string, name string, types map[string]FieldType) (string, error) {
	kind := types[name]
	if kind == 0 {
		kind = fieldType(name)
	}
	var v httpsfv.StructuredFieldValue
	var err error
	switch kind {
	case Dictionary:
		v, err = httpsfv.UnmarshalDictionary(values)
	case List:
		v, err = httpsfv.UnmarshalList(values)
	case Item:
		v, err = httpsfv.UnmarshalItem(values)
	default:
		return "", fmt.Errorf("%w: %s is not known as a structured field", ErrComponent, name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s is not a structured field", ErrComponent, name)
	}
	return marshal(v, name)
}

func marshal(v httpsfv.StructuredFieldValue, name string) (string, error) {
	s, err := httpsfv.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s cannot be serialised", ErrComponent, name)
	}
	return s, nil
}

// member is one member of a dictionary field (RFC 9421 section 2.1.2).
func member(values []string, name, key string) (string, error) {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return "", fmt.Errorf("%w: %s is not a dictionary", ErrComponent, name)
	}
	m, ok := dict.Get(key)
	if !ok {
		return "", absentError{fmt.Sprintf("%s has no member %q", name, key)}
	}
	switch v := m.(type) {
	case httpsfv.Item:
		return marshal(v, name)
	case httpsfv.InnerList:
		return marshal(v, name)
	}
	return "", fmt.Errorf("%w: %s", ErrComponent, name)
}

// queryParam is the value of one query parameter by its encoded name (RFC 9421
// section 2.2.8).
func (m *Message) queryParam(want string) (string, error) {
	if m.Status != 0 || m.Method == "" {
		return "", missing("@query-param")
	}
	_, query, _ := strings.Cut(m.originForm(), "?")
	value, found := "", false
	for piece := range strings.SplitSeq(query, "&") {
		name, v, _ := strings.Cut(piece, "=")
		if piece == "" || formEncode(formDecode(name)) != want {
			continue
		}
		decoded := formDecode(v)
		if found || !utf8.ValidString(decoded) || !utf8.ValidString(formDecode(name)) {
			return "", fmt.Errorf("%w: query parameter %q is there twice or no UTF-8", ErrComponent, want)
		}
		value, found = formEncode(decoded), true
	}
	if !found {
		return "", absentError{fmt.Sprintf("no query parameter %q", want)}
	}
	return value, nil
}

// formDecode reads application/x-www-form-urlencoded (URL standard section 5.1).
func formDecode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hexDigits, s[i+1]|0x20), strings.IndexByte(hexDigits, s[i+2]|0x20)
			if hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

const hexDigits = "0123456789abcdef"

// formEncode percent-encodes all but letters, digits and "*-._"; a space is %20.
func formEncode(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '*', c == '-', c == '.', c == '_':
			b = append(b, c)
		default:
			b = append(b, '%', upper(c>>4), upper(c&15))
		}
	}
	return string(b)
}

func upper(n byte) byte { return "0123456789ABCDEF"[n] }
