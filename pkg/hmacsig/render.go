package hmacsig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is what a TemplateScheme covers. Strings are the bytes on the wire.
type Message struct {
	Method, Host string
	Target       string   // path with query, in origin form
	Fields       []Header // Host among them or not
	Time         time.Time
	Nonce        string // or the message's id; "" = none
	// Body is read from its beginning, once for each time that the text names it;
	// nil: no body.
	Body io.ReadSeeker
}

// Name is the template's name.
func (s TemplateScheme) Name() string { return s.t.Name }

// FieldNames lists the fields that the scheme may write. A request's own fields of
// these names must be taken off before Sign's are added.
func (s TemplateScheme) FieldNames() []string {
	names := make([]string, 0, len(s.fields))
	for _, f := range s.fields {
		names = append(names, f.name)
	}
	return names
}

// NeedsNonce reports whether the text can't do without a nonce.
func (s TemplateScheme) NeedsNonce() bool {
	return slices.ContainsFunc(s.parts, func(p part) bool { return p.kind == "nonce" && p.opt == 0 })
}

// SignatureField is the name of the field that carries the signature.
func (s TemplateScheme) SignatureField() string {
	i := slices.IndexFunc(s.fields, func(f fieldParts) bool { return slices.ContainsFunc(f.elements, signs) })
	return s.fields[max(i, 0)].name
}

// CoversBody reports whether Sign reads the body.
func (s TemplateScheme) CoversBody() bool { return s.covers("body") }

// covers reports whether the text has the variable.
func (s TemplateScheme) covers(kind string) bool {
	return slices.ContainsFunc(s.parts, func(p part) bool { return p.kind == kind })
}

// Sign returns the fields to add to the request. Errors: ErrUnknownPreset (zero
// scheme), ErrControlByte, ErrMalformed (a nonce is missing, or the secret is not
// encoded as the template says), and the body's own.
func (s TemplateScheme) Sign(secret []byte, m *Message) ([]Header, error) {
	return s.SignAll([][]byte{secret}, m)
}

// SignAll is Sign with several secrets, so that a receiver may know any one of them.
// ErrTemplate if the scheme's field has room for one signature alone.
func (s TemplateScheme) SignAll(secrets [][]byte, m *Message) ([]Header, error) {
	timestamp := s.formatTime(m.Time)
	signatures, err := s.signatures(secrets, m, timestamp)
	if err != nil {
		return nil, err
	}
	values := map[string][]string{"timestamp": {timestamp}, "nonce": {m.Nonce}, "signature": signatures}
	var out []Header
	for _, f := range s.fields {
		var elements []string
		for _, e := range f.elements {
			elements = append(elements, fill(e, values)...)
		}
		if len(elements) > 0 {
			out = append(out, Header{f.name, strings.Join(elements, f.separator)})
		}
	}
	return out, nil
}

func (s TemplateScheme) signatures(secrets [][]byte, m *Message, timestamp string) ([]string, error) {
	if len(secrets) > 1 && !s.Lists() {
		return nil, fmt.Errorf("%w: it has room for one signature", ErrTemplate)
	}
	var out []string
	for _, secret := range secrets {
		sum, err := s.sum(secret, m, timestamp)
		if err != nil {
			return nil, err
		}
		out = append(out, encoder(s.t.Encoding)(sum))
	}
	return out, nil
}

// Lists reports whether the signature's field may have several.
func (s TemplateScheme) Lists() bool {
	return slices.ContainsFunc(s.fields, func(f fieldParts) bool {
		return f.separator != "" && slices.ContainsFunc(f.elements, signs)
	})
}

func signs(parts []part) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.kind == "signature" })
}

// fill is an element's text for each value of its variable that is not empty.
func fill(parts []part, values map[string][]string) (out []string) {
	before, after, kind := "", "", ""
	for _, p := range parts {
		switch {
		case p.kind != "":
			kind = p.kind
		case kind == "":
			before += p.text
		default:
			after += p.text
		}
	}
	for _, value := range values[kind] {
		if value != "" {
			out = append(out, before+value+after)
		}
	}
	return out
}

// sum is the MAC over the text.
func (s TemplateScheme) sum(secret []byte, m *Message, timestamp string) ([]byte, error) {
	if len(s.parts) == 0 {
		return nil, ErrUnknownPreset
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if s.NeedsNonce() && m.Nonce == "" {
		return nil, fmt.Errorf("%w: no nonce", ErrMalformed)
	}
	key, err := s.key(secret)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(func() hash.Hash { return newHash(s.t.Algorithm) }, key)
	skip := s.skipped(m, timestamp)
	for _, p := range s.parts {
		if p.opt > 0 && skip[p.opt] {
			continue
		}
		if err := m.write(mac, p, timestamp); err != nil {
			return nil, err
		}
	}
	return mac.Sum(nil), nil
}

// skipped are the optional groups that have an empty variable.
func (s TemplateScheme) skipped(m *Message, timestamp string) map[int]bool {
	skip := map[int]bool{}
	for _, p := range s.parts {
		if p.opt > 0 && p.kind != "" && p.kind != "body" && m.value(p, timestamp) == "" {
			skip[p.opt] = true
		}
	}
	return skip
}

func (m *Message) write(w io.Writer, p part, timestamp string) error {
	if p.kind != "body" {
		_, err := io.WriteString(w, p.text+m.value(p, timestamp))
		return err
	}
	if p.arg == "" {
		return m.copyBody(w)
	}
	h := newHash(p.arg)
	if err := m.copyBody(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, encoder(p.enc)(h.Sum(nil)))
	return err
}

func (m *Message) copyBody(w io.Writer) error {
	if m.Body == nil {
		return nil
	}
	if _, err := m.Body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the body to sign it: %w", err)
	}
	if _, err := io.Copy(w, m.Body); err != nil {
		return fmt.Errorf("read the body to sign it: %w", err)
	}
	return nil
}

func (m *Message) value(p part, timestamp string) string {
	path, query, _ := strings.Cut(m.Target, "?")
	switch p.kind {
	case "method":
		return m.Method
	case "host":
		return m.Host
	case "target":
		return m.Target
	case "path":
		return path
	case "query":
		return query
	case "query.sorted":
		return sortedQuery(query)
	case "header":
		return m.header(p.arg)
	case "timestamp":
		return timestamp
	case "nonce":
		return m.Nonce
	}
	return ""
}

func (m *Message) header(name string) string {
	var values []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, strings.Trim(f.Value, " \t"))
		}
	}
	if values == nil && name == "host" { // where it stands apart from the fields
		return m.Host
	}
	return strings.Join(values, ",")
}

func sortedQuery(query string) string {
	pieces := strings.Split(query, "&")
	slices.SortStableFunc(pieces, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pieces, "&")
}

// check refuses what would not stay on its line, as Input.Check does.
func (m *Message) check() error {
	in := Input{Method: m.Method, Target: m.Target, ContentType: m.Host, Nonce: m.Nonce}
	if err := in.Check(); err != nil {
		return err
	}
	for _, f := range m.Fields {
		in = Input{ContentType: f.Value}
		if err := in.Check(); err != nil {
			return err
		}
	}
	return nil
}

// key turns a secret into key bytes.
func (s TemplateScheme) key(secret []byte) ([]byte, error) {
	text := strings.TrimPrefix(string(secret), s.t.KeyPrefix)
	var key []byte
	var err error
	switch s.t.Key {
	case "hex":
		key, err = hex.DecodeString(text)
	case "base64":
		key, err = base64.StdEncoding.DecodeString(text)
	default:
		key = []byte(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the secret is not %s", ErrMalformed, s.t.Key)
	}
	return key, nil
}

const rfc3339 = "2006-01-02T15:04:05Z"

func (s TemplateScheme) formatTime(t time.Time) string {
	switch s.t.Time {
	case "ms":
		return strconv.FormatInt(t.UnixMilli(), 10)
	case "rfc3339":
		return t.UTC().Format(rfc3339)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// parseTime reads a timestamp in its one spelling.
func (s TemplateScheme) parseTime(text string) (time.Time, error) {
	var t time.Time
	var n int64
	var err error
	switch s.t.Time {
	case "ms":
		n, err = strconv.ParseInt(text, 10, 64)
		t = time.UnixMilli(n)
	case "rfc3339":
		t, err = time.Parse(rfc3339, text)
	default:
		n, err = strconv.ParseInt(text, 10, 64)
		t = time.Unix(n, 0)
	}
	if err != nil || s.formatTime(t) != text {
		return time.Time{}, fmt.Errorf("%w: timestamp", ErrMalformed)
	}
	return t.UTC(), nil
}

func newHash(name string) hash.Hash {
	switch name {
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

func encoder(name string) func([]byte) string {
	switch name {
	case "hex":
		return hex.EncodeToString
	case "base64":
		return base64.StdEncoding.EncodeToString
	case "base64url":
		return base64.RawURLEncoding.EncodeToString
	}
	return nil
}
