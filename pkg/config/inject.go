package config

import (
	"slices"
	"strconv"
	"strings"
)

// slot is the place on a request that a credential takes.
type slot struct {
	name string // "Authorization header" or the like, in one spelling
	at   Position
}

func (b *builder) injects(doc *routeDoc, sign *Sign) []Inject {
	var injects []Inject
	var slots []slot
	for i := range doc.Inject {
		inject, ok := b.inject(&doc.Inject[i])
		if !ok {
			continue
		}
		slots = append(slots, slot{inject.slot(), doc.Inject[i].At})
		injects = append(injects, inject)
	}
	b.oneEach(append(slots, b.signSlots(doc.Sign, sign)...))
	return injects
}

// oneEach refuses two credentials on one place: only one could be there.
func (b *builder) oneEach(slots []slot) {
	for i, s := range slots {
		first := slices.IndexFunc(slots, func(o slot) bool { return o.name == s.name })
		if first < i {
			b.fail(s.at, "", "writes the %s, as line %d does", s.name, slots[first].at.Line)
		}
	}
}

func (i *Inject) slot() string {
	switch i.Form {
	case Header:
		return headerSlot(i.Field)
	case Query:
		return "query parameter " + i.Field
	case Cookie:
		return "cookie " + i.Field
	case Path:
		return "path segment " + strconv.Itoa(i.Segment)
	case JSON:
		return "JSON member " + i.Field
	case Fields:
		return "form field " + i.Field
	case Swap:
		return "placeholder of " + i.Secret
	}
	return headerSlot("Authorization")
}

func headerSlot(field string) string { return strings.ToLower(field) + " header" }

func (b *builder) inject(doc *injectDoc) (Inject, bool) {
	var made []func() (Inject, bool)
	for _, f := range []struct {
		present bool
		make    func() (Inject, bool)
	}{
		{!doc.Bearer.absent(), func() (Inject, bool) { return b.bearer(doc.Bearer) }},
		{doc.Basic != nil, func() (Inject, bool) { return b.basic(doc.Basic) }},
		{doc.Header != nil, func() (Inject, bool) { return b.header(doc.Header) }},
		{doc.Query != nil, func() (Inject, bool) { return b.query(doc.Query) }},
		{doc.Cookie != nil, func() (Inject, bool) { return b.cookie(doc.Cookie) }},
		{doc.Path != nil, func() (Inject, bool) { return b.pathSegment(doc.Path) }},
		{doc.JSON != nil, func() (Inject, bool) { return b.json(doc.JSON) }},
		{doc.Form != nil, func() (Inject, bool) { return b.form(doc.Form) }},
		{doc.Placeholder != nil, func() (Inject, bool) { return b.placeholder(doc.Placeholder) }},
	} {
		if f.present {
			made = append(made, f.make)
		}
	}
	if len(made) != 1 {
		b.fail(doc.At, "as in {bearer: secret:NAME}", "needs one of bearer, basic, header, query, cookie, path, json, form and placeholder")
		return Inject{}, false
	}
	return made[0]()
}

func (b *builder) bearer(t text) (Inject, bool) {
	return Inject{Form: Bearer, Secret: b.reference(t, "bearer")}, t.ok()
}

func (b *builder) basic(doc *basicDoc) (Inject, bool) {
	if !b.both(doc.At, "basic", "username", doc.Username, "password", doc.Password) {
		return Inject{}, false
	}
	if strings.Contains(doc.Username.value, ":") {
		b.fail(doc.Username.at, "RFC 7617 has no escape for it", "username has a colon")
	}
	return Inject{Form: Basic, Username: doc.Username.value, Secret: b.reference(doc.Password, "password")}, true
}

func (b *builder) header(doc *headerDoc) (Inject, bool) {
	value, key := doc.Value, "value"
	if !doc.Template.absent() {
		value, key = doc.Template, "template"
	}
	if !b.both(doc.At, "header", "name", doc.Name, key, value) {
		return Inject{}, false
	}
	if name := doc.Name.value; !isToken(name) {
		b.fail(doc.Name.at, "", "%q is not the name of a header", name)
	} else if slices.Contains(framing, strings.ToLower(name)) {
		b.fail(doc.Name.at, "", "header %s belongs to the connection and cannot be injected", name)
	}
	if !ascii(doc.Prefix.value) {
		b.fail(doc.Prefix.at, "", "prefix is not ASCII")
	}
	in := Inject{Form: Header, Field: doc.Name.value, Prefix: doc.Prefix.value}
	if doc.Template.absent() {
		in.Secret = b.reference(doc.Value, "value")
		return in, true
	}
	if !doc.Value.absent() || !doc.Prefix.absent() {
		b.fail(doc.Template.at, "write all of it into the template", "template stands in place of value and prefix")
	}
	in.Template = b.fieldTemplate(doc.Template)
	return in, true
}

func (b *builder) query(doc *queryDoc) (Inject, bool) {
	if !b.both(doc.At, "query", "name", doc.Name, "value", doc.Value) {
		return Inject{}, false
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~$"
	if strings.Trim(doc.Name.value, allowed) != "" {
		b.fail(doc.Name.at, "letters, digits and - . _ ~ $", "%q is not the name of a query parameter", doc.Name.value)
	}
	return Inject{Form: Query, Field: doc.Name.value, Secret: b.reference(doc.Value, "value")}, true
}

func (b *builder) both(at Position, what, key1 string, v1 text, key2 string, v2 text) bool {
	if v1.absent() || v2.absent() {
		b.fail(at, "", "%s needs %s and %s", what, key1, key2)
	}
	return v1.ok() && v2.ok()
}

// framing are the fields that say where a message goes and where it ends
// (RFC 9110 section 7.6.1, RFC 9112 section 6), lower case.
var framing = []string{
	"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
	"keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "expect",
}

// isToken reports whether s is an RFC 9110 token: a method or a field name.
func isToken(s string) bool {
	const marks = "!#$%&'*+-.^_`|~"
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return s != ""
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
