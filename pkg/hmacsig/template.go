package hmacsig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrTemplate is returned for a template that can't be followed.
var ErrTemplate = errors.New("signature template is not valid")

// Template describes a scheme by text. Braces hold variables:
//
//	{method} {host} {target} {path} {query}   as sent; query without "?", "" if none
//	{query.sorted}     the query's pieces sorted by name, then value, bytes as sent
//	{header:NAME}      a field's value without the white space around it, several
//	                   joined by ",", "" if there is none
//	{timestamp} {nonce}
//	{body}             the body's bytes
//	{body:ALG:ENC}     its digest: sha1 sha256 sha384 sha512, hex base64 base64url
//	{signature}        in a field's value only
//
// What stands in [[ and ]] is left out where a variable in it is empty.
type Template struct {
	Name      string
	Text      string // what is signed
	Algorithm string // sha1, sha256, sha384, sha512
	Encoding  string // of the signature: hex, base64, base64url (without padding)
	Time      string // of {timestamp}: s, ms, rfc3339
	// Key says how a secret becomes key bytes: "raw" (or empty), "hex", "base64";
	// KeyPrefix is cut off before, if it is there.
	Key, KeyPrefix string
	Fields         []FieldTemplate
}

// FieldTemplate is one field that carries a part of the signature. Where
// Separator is set the value is a list: a receiver ignores elements of a form
// that it does not know and takes one signature of several. A field whose only
// variable is empty is not written.
type FieldTemplate struct{ Name, Value, Separator string }

// TemplateScheme is a compiled Template. It may be copied and used by several
// goroutines. Unlike a Scheme it may sign the body itself and any field.
type TemplateScheme struct {
	t      Template
	parts  []part
	fields []fieldParts
}

// part is literal text or one variable.
type part struct {
	text string // literal if kind is ""
	kind string // variable's name up to the first ":"
	arg  string
	enc  string
	opt  int // number of the optional group, 0 none
}

type fieldParts struct {
	name, separator string
	elements        [][]part
}

// Compile checks t. The error names what is wrong.
func (t Template) Compile() (TemplateScheme, error) {
	s := TemplateScheme{t: t}
	if t.Name == "" || newHash(t.Algorithm) == nil || encoder(t.Encoding) == nil || !slices.Contains([]string{"", "s", "ms", "rfc3339"}, t.Time) ||
		!slices.Contains([]string{"", "raw", "hex", "base64"}, t.Key) {
		return s, fmt.Errorf("%w: name, algorithm, encoding, time or key", ErrTemplate)
	}
	var err error
	if s.parts, err = compile(t.Text, inText); err != nil {
		return TemplateScheme{}, err
	}
	signatures := 0
	for _, f := range t.Fields {
		c, n, err := compileField(f)
		if err != nil {
			return TemplateScheme{}, err
		}
		signatures += n
		s.fields = append(s.fields, c)
	}
	if signatures != 1 || len(s.parts) == 0 {
		return TemplateScheme{}, fmt.Errorf("%w: one field must have {signature}", ErrTemplate)
	}
	return s, s.checkCarried()
}

// checkCarried: a time or nonce that is signed must travel, or nobody could verify.
func (s *TemplateScheme) checkCarried() error {
	carried := map[string]int{}
	for _, f := range s.fields {
		for _, e := range f.elements {
			for _, p := range e {
				carried[p.kind]++
			}
		}
	}
	for _, p := range s.parts {
		if (p.kind == "timestamp" || p.kind == "nonce") && carried[p.kind] != 1 {
			return fmt.Errorf("%w: {%s} is signed and not carried by one field", ErrTemplate, p.kind)
		}
	}
	return nil
}

// compileField gives the number of signatures too. An element has one variable
// at most, so that a receiver can take it apart.
func compileField(f FieldTemplate) (fieldParts, int, error) {
	c := fieldParts{name: f.Name, separator: f.Separator}
	elements := []string{f.Value}
	if f.Separator != "" {
		elements = strings.Split(f.Value, f.Separator)
	}
	signatures := 0
	for _, e := range elements {
		parts, err := compile(e, inField)
		if err != nil {
			return c, 0, err
		}
		variables := 0
		for _, p := range parts {
			if p.kind != "" {
				variables++
			}
			if p.kind == "signature" {
				signatures++
			}
		}
		if variables != 1 || f.Name == "" {
			return c, 0, fmt.Errorf("%w: field %q: one variable for each element", ErrTemplate, f.Name)
		}
		c.elements = append(c.elements, parts)
	}
	return c, signatures, nil
}

func inText(kind string) bool {
	return slices.Contains([]string{"method", "host", "target", "path", "query", "query.sorted", "header", "timestamp", "nonce", "body"}, kind)
}

func inField(kind string) bool {
	return slices.Contains([]string{"timestamp", "nonce", "signature"}, kind)
}

// compile cuts text into parts.
func compile(text string, known func(string) bool) ([]part, error) {
	var parts []part
	group, open := 0, false
	for text != "" {
		number := 0
		if open {
			number = group
		}
		switch i := strings.IndexAny(text, "{}[]"); {
		case i < 0 && !open:
			return append(parts, part{text: text}), nil
		case i > 0:
			parts = append(parts, part{text: text[:i], opt: number})
			text = text[i:]
		case strings.HasPrefix(text, "[[") && !open:
			open, group, text = true, group+1, text[2:]
		case strings.HasPrefix(text, "]]") && open:
			open, text = false, text[2:]
		case strings.HasPrefix(text, "{") && strings.Contains(text, "}"):
			end := strings.IndexByte(text, '}')
			p, ok := variable(text[1:end])
			if !ok || !known(p.kind) {
				return nil, fmt.Errorf("%w: unknown variable %s", ErrTemplate, text[:end+1])
			}
			p.opt = number
			parts, text = append(parts, p), text[end+1:]
		default:
			return nil, fmt.Errorf("%w: a brace or bracket that fits nothing", ErrTemplate)
		}
	}
	if open {
		return nil, fmt.Errorf("%w: [[ without ]]", ErrTemplate)
	}
	return parts, nil
}

// variable reads what stands in braces.
func variable(s string) (part, bool) {
	kind, arg, has := strings.Cut(s, ":")
	p := part{kind: kind, arg: arg}
	switch {
	case kind == "header":
		p.arg = strings.ToLower(arg)
		return p, arg != "" && !strings.ContainsAny(arg, ": \t\r\n")
	case kind == "body" && has:
		p.arg, p.enc, _ = strings.Cut(arg, ":")
		return p, newHash(p.arg) != nil && encoder(p.enc) != nil
	}
	return p, !has
}
