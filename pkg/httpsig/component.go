package httpsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
)

// Component names one part of a message that a signature covers (RFC 9421
// section 2): a lower-case field name or a derived component, with parameters.
type Component struct {
	name             string
	text             string // serialised, parameters in their order
	sf, bs, tr, req  bool
	key, query       string
	hasKey, hasQuery bool
}

// ParseComponent reads a component: `"@method"`, `"@query-param";name="id"`; the
// quotes may be left out where there is no parameter, as in `content-type`.
func ParseComponent(s string) (Component, error) {
	if s != "" && s[0] != '"' {
		s = `"` + s + `"`
	}
	item, err := httpsfv.UnmarshalItem([]string{s})
	if err != nil {
		return Component{}, fmt.Errorf("%w: %q", ErrComponent, s)
	}
	return newComponent(item)
}

// Components parses several.
func Components(list ...string) ([]Component, error) {
	out := make([]Component, 0, len(list))
	for _, s := range list {
		c, err := ParseComponent(s)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// String is the component as it is serialised.
func (c Component) String() string { return c.text }

// In reports whether m has the component, be it one that can be signed or not.
func (c Component) In(m *Message) bool {
	_, err := c.value(m)
	var absent absentError
	return !errors.As(err, &absent)
}

func newComponent(item httpsfv.Item) (Component, error) {
	name, ok := item.Value.(string)
	if !ok {
		return Component{}, fmt.Errorf("%w: an identifier is a string", ErrComponent)
	}
	c := Component{name: name}
	for _, p := range item.Params.Names() {
		value, _ := item.Params.Get(p)
		if !c.set(p, value) {
			return Component{}, fmt.Errorf("%w: parameter %q of %q", ErrComponent, p, name)
		}
	}
	var err error
	if c.text, err = httpsfv.Marshal(item); err != nil {
		return Component{}, fmt.Errorf("%w: %q", ErrComponent, name)
	}
	return c, c.check()
}

func (c *Component) set(param string, value any) bool {
	flags := map[string]*bool{"sf": &c.sf, "bs": &c.bs, "tr": &c.tr, "req": &c.req}
	if to := flags[param]; to != nil {
		on, ok := value.(bool)
		*to = on
		return ok && on
	}
	var ok bool
	switch param {
	case "key":
		c.key, ok = value.(string)
		c.hasKey = true
	case "name":
		c.query, ok = value.(string)
		c.hasQuery = true
	}
	return ok
}

// derivedNames are those of RFC 9421 section 2.2.
var derivedNames = []string{
	"@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query", "@query-param", "@status",
}

// CheckRequest returns ErrComponent for what no request that is about to be sent has:
// a response's, a trailer's, or a structured field of an unknown kind.
func (c Component) CheckRequest() error {
	switch {
	case c.req || c.name == "@status":
		return fmt.Errorf("%w: %s is of responses", ErrComponent, c.text)
	case c.tr:
		return fmt.Errorf("%w: %s comes behind the signature", ErrComponent, c.text)
	case c.sf && !c.hasKey && fieldType(c.name) == 0:
		return fmt.Errorf("%w: %s is not known as a structured field", ErrComponent, c.text)
	}
	return nil
}

// check refuses names that are not known, and parameters that do not go together.
func (c *Component) check() error {
	derived := strings.HasPrefix(c.name, "@")
	bad := false
	switch {
	case derived:
		bad = !slices.Contains(derivedNames, c.name) || c.sf || c.bs || c.tr || c.hasKey || c.hasQuery != (c.name == "@query-param")
	default:
		bad = c.hasQuery || c.bs && (c.sf || c.hasKey) || !fieldName(c.name)
	}
	if bad {
		return fmt.Errorf("%w: %s", ErrComponent, c.text)
	}
	return nil
}

// fieldName: a lower-case token.
func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// identity is the same for two spellings of one component.
func (c *Component) identity() string {
	return fmt.Sprintf("%q %t %t %t %t %t%q %t%q", c.name, c.sf, c.bs, c.tr, c.req, c.hasKey, c.key, c.hasQuery, c.query)
}

// value is the component's value in m.
func (c *Component) value(m *Message) (string, error) {
	if c.req {
		if m.Status == 0 || m.Request == nil {
			return "", absentError{c.text + " without a request"}
		}
		request := *m.Request
		if request.Types == nil {
			request.Types = m.Types
		}
		m = &request
	}
	var s string
	var err error
	switch {
	case c.name == "@query-param":
		s, err = m.queryParam(c.query)
	case c.name[0] == '@':
		s, err = m.derived(c.name)
	default:
		s, err = c.field(m)
	}
	if err == nil && !printable(s) {
		err = fmt.Errorf("%w: the value of %s has bytes that no base may have", ErrComponent, c.text)
	}
	return s, err
}

func (c *Component) field(m *Message) (string, error) {
	fields := m.Fields
	if c.tr {
		fields = m.Trailers
	}
	values := lines(fields, c.name)
	switch {
	case len(values) == 0:
		return "", missing(c.text)
	case c.bs:
		for i, v := range values {
			values[i] = ":" + base64.StdEncoding.EncodeToString([]byte(v)) + ":"
		}
	case c.hasKey:
		return member(values, c.name, c.key)
	case c.sf:
		return strict(values, c.name, m.Types)
	}
	return strings.Join(values, ", "), nil
}

// printable: visible ASCII, space and tab.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}

// unique reports a component that is there twice.
func unique(list []Component) error {
	var seen []string
	for i := range list {
		id := list[i].identity()
		if slices.Contains(seen, id) {
			return fmt.Errorf("%w: %s twice", ErrComponent, list[i].text)
		}
		seen = append(seen, id)
	}
	return nil
}
