package httpsig

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrComponent is returned for a component that the message lacks or that is
	// not well formed.
	ErrComponent = errors.New("component cannot be signed")
	// ErrMalformed is returned for a signature field that breaks its grammar.
	ErrMalformed = errors.New("message signature is malformed")
	// ErrUnsigned is returned for a message without the signature that is looked for.
	ErrUnsigned = errors.New("message has no such signature")
	// ErrLabel is returned for a label that the message already has, or that is no key.
	ErrLabel = errors.New("signature label is taken or not a key")
	// ErrMismatch is returned for a signature that the key did not make.
	ErrMismatch = errors.New("message signature does not match")
	// ErrKey is returned for a key that does not fit its algorithm.
	ErrKey = errors.New("key does not fit the algorithm")
	// ErrPolicy is returned for a valid signature that says too little.
	ErrPolicy = errors.New("message signature is not enough")
	// ErrExpired is returned for a signature whose time is over.
	ErrExpired = errors.New("message signature has expired")
	// ErrEarly is returned for a signature from the future.
	ErrEarly = errors.New("message signature is from the future")
	// ErrDigest is returned for a body that is not the one of its digest field.
	ErrDigest = errors.New("body does not match its digest")
)

// Field is one field line, as it is on the wire.
type Field struct{ Name, Value string }

// Message is a request, or a response if Status is not 0.
type Message struct {
	Method    string
	Scheme    string // "https" if empty
	Authority string // value of Host or :authority
	Target    string // request target as sent: "/path?query", absolute form or "*"
	Status    int
	Fields    []Field
	Trailers  []Field
	// Request is what a response answers, for the req parameter.
	Request *Message
	// Types tells of fields that this package does not know to be structured.
	Types map[string]FieldType
}

// derived is the value of a derived component without a name parameter.
func (m *Message) derived(name string) (string, error) {
	if name == "@status" {
		if m.Status < 100 || m.Status > 999 {
			return "", missing(name)
		}
		return strconv.Itoa(m.Status), nil
	}
	if m.Status != 0 || m.Method == "" {
		return "", missing(name)
	}
	switch name {
	case "@method":
		return m.Method, nil
	case "@target-uri":
		return m.targetURI()
	case "@authority":
		return m.authority()
	case "@scheme":
		return m.scheme(), nil
	case "@request-target":
		return m.Target, nil
	case "@path":
		path, _, _ := strings.Cut(m.originForm(), "?")
		if path == "" {
			path = "/"
		}
		return path, nil
	case "@query":
		_, query, _ := strings.Cut(m.originForm(), "?")
		return "?" + query, nil
	}
	return "", fmt.Errorf("%w: %s is not known", ErrComponent, name)
}

func missing(name string) error { return absentError{"the message has no " + name} }

// absentError is ErrComponent for what is not there.
type absentError struct{ what string }

func (e absentError) Error() string { return ErrComponent.Error() + ": " + e.what }

func (absentError) Unwrap() error { return ErrComponent }

func (m *Message) scheme() string {
	if m.Scheme == "" {
		return "https"
	}
	return strings.ToLower(m.Scheme)
}

// authority is in lower case and without the scheme's own port (RFC 9110
// section 4.2.3).
func (m *Message) authority() (string, error) {
	a := strings.ToLower(m.Authority)
	if a == "" || strings.ContainsAny(a, "@/?# \t") {
		return "", missing("@authority")
	}
	a = strings.TrimSuffix(a, ":")
	switch m.scheme() {
	case "https", "wss":
		a = strings.TrimSuffix(a, ":443")
	case "http", "ws":
		a = strings.TrimSuffix(a, ":80")
	}
	return a, nil
}

func (m *Message) targetURI() (string, error) {
	a, err := m.authority()
	if err != nil {
		return "", err
	}
	target := m.originForm()
	if !strings.HasPrefix(target, "/") && target != "" && target[0] != '?' {
		target = "" // the asterisk form has no path (RFC 9110 section 7.1)
	} else if target == "" || target[0] == '?' {
		target = "/" + target
	}
	return m.scheme() + "://" + a + target, nil
}

// originForm is the target without scheme and authority of an absolute form.
func (m *Message) originForm() string {
	if strings.HasPrefix(m.Target, "/") {
		return m.Target
	}
	_, rest, absolute := strings.Cut(m.Target, "://")
	if !absolute {
		return m.Target
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// lines are the values of the field lines of that name.
func lines(fields []Field, name string) []string {
	var values []string
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, strings.Trim(unfold(f.Value), " \t"))
		}
	}
	return values
}

// unfold replaces each folded line break by one space (RFC 9421 section 2.1).
func unfold(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	parts := strings.Split(s, "\n")
	for i, p := range parts {
		p = strings.TrimSuffix(p, "\r")
		if i > 0 {
			if p == "" || p[0] != ' ' && p[0] != '\t' {
				return s // no fold: the line break stays and is refused
			}
			p = strings.TrimLeft(p, " \t")
		}
		if i < len(parts)-1 {
			p = strings.TrimRight(p, " \t")
		}
		parts[i] = p
	}
	return strings.Join(parts, " ")
}
