package scrub

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// form is one way to write a secret, or many that share their nodes: node 0 is
// its beginning, and from accept on nodes are ends. No edge goes back.
type form struct {
	credential int // whose secret it is
	nodes      [][]edge
	accept     int
}

// edge is a piece of text that leads to another node.
type edge struct {
	text string // in lower case if fold
	to   int
	fold bool // letters in either case: of hexadecimal digits
}

// has reports whether c is the byte of the edge's text at i.
func (e *edge) has(i int, c byte) bool {
	if e.fold && 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return e.text[i] == c
}

// formsOf lists every form of a secret that is longer than nothing.
func formsOf(credential int, s []byte) []form {
	forms := append(wideForms(s), textForm(s), hexForm(s))
	for before := range 3 {
		forms = append(forms, base64Form(s, before))
	}
	for i := range forms {
		forms[i].credential = credential
	}
	return forms
}

// textForm is the secret with each character as it is, or escaped in one of the
// ways of URLs, JSON and HTML. Node i is reached when i bytes of it are.
func textForm(s []byte) form {
	nodes := make([][]edge, len(s)+1)
	for i, c := range s {
		nodes[i] = escapes(c, i+1)
		if r, n := utf8.DecodeRune(s[i:]); n > 1 {
			nodes[i] = append(nodes[i], wide(r, i+n)...)
		}
	}
	return form{nodes: nodes, accept: len(s)}
}

// escapes are the ways to write one byte. One that is not ASCII is also taken for
// a character of ISO 8859-1, as many servers do with what stands in a field.
func escapes(c byte, to int) []edge {
	edges := []edge{
		{text: string([]byte{c}), to: to},
		{text: fmt.Sprintf("%%%02x", c), to: to, fold: true},
	}
	if short, ok := shortEscapes[c]; ok {
		for _, text := range short {
			edges = append(edges, edge{text: text, to: to})
		}
	}
	if c >= utf8.RuneSelf {
		edges = append(edges, edge{text: string(rune(c)), to: to})
	}
	return append(edges, wide(rune(c), to)...)
}

var shortEscapes = map[byte][]string{
	' ':  {"+"},
	'\b': {`\b`},
	'\f': {`\f`},
	'\n': {`\n`},
	'\r': {`\r`},
	'\t': {`\t`},
	'"':  {`\"`, "&quot;"},
	'\\': {`\\`},
	'/':  {`\/`},
	'&':  {"&amp;"},
	'<':  {"&lt;"},
	'>':  {"&gt;"},
	'\'': {"&apos;", `\'`},
}

// wide are the escapes of a character by its number: of JSON in UTF-16, of HTML
// in decimal, with and without zeros in front, and hexadecimal.
func wide(r rune, to int) []edge {
	json := fmt.Sprintf(`\u%04x`, r)
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		json = fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	edges := []edge{{text: json, to: to, fold: true}}
	for _, entity := range []string{"&#%d;", "&#%03d;", "&#x%x;", "&#x%02x;"} {
		if e := (edge{fmt.Sprintf(entity, r), to, true}); e != edges[len(edges)-1] {
			edges = append(edges, e)
		}
	}
	return edges
}

// wideForms are the secret in UTF-16, of either byte order. Zeros at the ends are left
// out, so in ASCII both are one.
func wideForms(s []byte) []form {
	var forms []form
	var last []byte
	for _, order := range [...]binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var b []byte
		for _, unit := range utf16.Encode(bytes.Runes(s)) {
			b = order.AppendUint16(b, unit)
		}
		if b = bytes.Trim(b, "\x00"); !utf8.Valid(s) || bytes.Equal(b, last) {
			continue // not text, or known
		}
		nodes := make([][]edge, len(b)+1)
		for i := range b {
			nodes[i] = []edge{{text: string(b[i : i+1]), to: i + 1}}
		}
		forms, last = append(forms, form{nodes: nodes, accept: len(b)}), b
	}
	return forms
}

// hexForm is the secret in hexadecimal.
func hexForm(s []byte) form {
	nodes := make([][]edge, len(s)+1)
	for i, c := range s {
		nodes[i] = []edge{{text: string(strconv.AppendUint(nil, 0x100|uint64(c), 16)[1:]), to: i + 1, fold: true}}
	}
	return form{nodes: nodes, accept: len(s)}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64Form is the secret within a base64 text, if so many bytes stand before it in
// its group of three. Of the last character some bits may be others', so it is one
// of several. A first one of which some bits are others' is left out: it says four
// bits of the secret at most, and would be one of sixteen to begin with.
func base64Form(s []byte, before int) form {
	bits := func(first byte, rest byte) string { // encodes s with all other bits set so
		padded := append(make([]byte, 0, before+len(s)+2), first, first)[:before]
		return base64.RawStdEncoding.EncodeToString(append(append(padded, s...), rest, rest))
	}
	zeros, ones := bits(0, 0), bits(0xff, 0xff)
	first, end := (8*before+5)/6, (8*(before+len(s))+5)/6
	var nodes [][]edge
	for at := first; at < end; at++ {
		nodes = append(nodes, between(zeros[at], ones[at], len(nodes)+1))
	}
	f := form{nodes: append(nodes, nil), accept: len(nodes)}
	f.pad((before + len(s)) % 3)
	return f
}

// between are the characters whose bits are among those of two.
func between(zeros, ones byte, to int) (edges []edge) {
	low, high := sextet(zeros), sextet(ones)
	for v := range len(alphabet) {
		if v&low != low || v|high != high {
			continue
		}
		switch c := alphabet[v]; c {
		case '+':
			edges = append(append(edges, escapes('+', to)...), escapes('-', to)...)
		case '/':
			edges = append(append(edges, escapes('/', to)...), escapes('_', to)...)
		default:
			edges = append(edges, edge{text: alphabet[v : v+1], to: to})
		}
	}
	return edges
}

func sextet(c byte) int {
	for v := range len(alphabet) {
		if alphabet[v] == c {
			return v
		}
	}
	return 0
}

// pad lets the padding be a part of the match, for so many bytes in the last
// group.
func (f *form) pad(last int) {
	for ; last > 0 && last < 3; last++ {
		at := len(f.nodes) - 1
		f.nodes[at] = escapes('=', at+1)
		f.nodes = append(f.nodes, nil)
	}
}
