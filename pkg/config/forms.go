package config

import (
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/secret"
)

func (b *builder) cookie(doc *queryDoc) (Inject, bool) {
	if !b.both(doc.At, "cookie", "name", doc.Name, "value", doc.Value) {
		return Inject{}, false
	}
	if !isToken(doc.Name.value) {
		b.fail(doc.Name.at, "", "%q is not the name of a cookie", doc.Name.value)
	}
	return Inject{Form: Cookie, Field: doc.Name.value, Secret: b.reference(doc.Value, "value")}, true
}

func (b *builder) pathSegment(doc *pathDoc) (Inject, bool) {
	const most = 64
	if doc.Value.absent() || doc.Segment.at.IsZero() {
		b.fail(doc.At, "as in {segment: 2, value: secret:NAME}", "path needs segment and value")
		return Inject{}, false
	}
	if n := doc.Segment.value; doc.Segment.sound && (n < 1 || n > most) {
		b.fail(doc.Segment.at, "/v1/KEY has it in segment 2", "path segments count from 1 to %d", most)
	}
	return Inject{
		Form: Path, Segment: int(min(doc.Segment.value, most)), Prefix: doc.Prefix.value, Secret: b.reference(doc.Value, "value"),
	}, doc.Value.ok()
}

func (b *builder) json(doc *jsonDoc) (Inject, bool) {
	if !b.both(doc.At, "json", "pointer", doc.Pointer, "value", doc.Value) {
		return Inject{}, false
	}
	if !strings.HasPrefix(doc.Pointer.value, "/") {
		b.fail(doc.Pointer.at, "as in /auth/token", "%q is not a JSON pointer", doc.Pointer.value)
	}
	return Inject{Form: JSON, Field: doc.Pointer.value, Secret: b.reference(doc.Value, "value")}, true
}

func (b *builder) form(doc *queryDoc) (Inject, bool) {
	if !b.both(doc.At, "form", "name", doc.Name, "value", doc.Value) {
		return Inject{}, false
	}
	return Inject{Form: Fields, Field: doc.Name.value, Secret: b.reference(doc.Value, "value")}, true
}

var (
	places = []string{"header", "query", "path", "body"}
	shapes = []string{"opaque", "jwt", "aws"}
)

func (b *builder) placeholder(doc *placeholderDoc) (Inject, bool) {
	if doc.Value.absent() {
		b.fail(doc.At, "as in {value: secret:NAME}", "placeholder needs value")
	}
	p := Placeholder{Prefix: doc.Prefix.value, Length: int(min(doc.Length.value, 1<<16))}
	if shape := b.oneOf(doc.Shape, shapes...); shape != "opaque" {
		p.Shape = shape
	}
	for _, t := range doc.In {
		if place := b.oneOf(t, places...); place != "" && !slices.Contains(p.In, place) {
			p.In = append(p.In, place)
		}
	}
	if len(doc.In) == 0 {
		p.In = places[:1]
	}
	if p.Shape != "" && !(doc.Prefix.absent() && doc.Length.at.IsZero()) {
		b.fail(doc.Shape.at, "leave shape out", "a placeholder of shape %s has its own prefix and length", p.Shape)
	}
	const least = 20 // letters that are drawn; inject says why
	if n := len(p.Prefix) + least; p.Length != 0 && p.Length < n {
		b.fail(doc.Length.at, "it must not be guessed", "the placeholder is shorter than %d", n)
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
	if strings.Trim(p.Prefix, allowed) != "" {
		b.fail(doc.Prefix.at, "letters, digits and _ - .", "%q is not the prefix of a placeholder", p.Prefix)
	}
	return Inject{Form: Swap, Placeholder: p, Secret: b.reference(doc.Value, "value")}, doc.Value.ok()
}

// fieldTemplate takes "Token {secret:a}" apart.
func (b *builder) fieldTemplate(t text) (pieces []Piece) {
	rest, secrets := t.value, 0
	for rest != "" {
		before, behind, found := strings.Cut(rest, "{")
		if before != "" {
			pieces = append(pieces, Piece{Text: before})
		}
		if !found {
			break
		}
		inside, after, closed := strings.Cut(behind, "}")
		name, ok := secret.ParseRef(inside)
		if !closed || !ok {
			b.fail(t.at, "as in \"Token {secret:NAME}\"", "template has a brace that is no {secret:NAME}")
			return nil
		}
		b.secretNamed(t.at, name)
		pieces = append(pieces, Piece{Secret: name})
		rest = after
		secrets++
	}
	if secrets == 0 {
		b.fail(t.at, "as in \"Token {secret:NAME}\"", "template has no secret in it")
	}
	if !ascii(t.value) {
		b.fail(t.at, "", "template is not ASCII")
	}
	return pieces
}
