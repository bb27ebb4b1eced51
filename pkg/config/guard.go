package config

import (
	"bytes"
	"fmt"
	"iter"
	"unicode/utf8"
)

// notUTF8 is the place of the first byte that is no UTF-8, for which the parser
// would put another character; 0 if there is none.
func notUTF8(data []byte) (line, column int) {
	if utf8.Valid(data) {
		return 0, 0
	}
	for line, text := range lines(data) {
		if utf8.Valid(text) {
			continue
		}
		for column = 1; ; column++ {
			r, size := utf8.DecodeRune(text)
			if r == utf8.RuneError && size == 1 {
				return line, column
			}
			text = text[size:]
		}
	}
	return 1, 1
}

// tooMuch keeps input from exhausting the stack of the parser, which recurses: by
// flow brackets, by a line that opens one block after another, and from each entry of
// a mapping to the next. It names the line that goes too far; 0 is none.
func tooMuch(data []byte) (line int, why string) {
	var open openMappings
	depth := 0
	for line, text := range lines(data) {
		if opened := blocksOpened(text); opened > maxDepth || nests(text, &depth) {
			return line, fmt.Sprintf("mappings or lists are nested more than %d deep", maxDepth)
		}
		if open.line(text) > maxOpen {
			return line, fmt.Sprintf("mapping has more than %d entries", maxOpen)
		}
	}
	return 0, ""
}

// lines counts as the parser does, for which a CR alone ends a line too.
func lines(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for n := 1; len(data) > 0; n++ {
			text, rest := data, []byte(nil)
			if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
				text, rest = data[:i], data[i+1:]
				if data[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
					rest = rest[1:]
				}
			}
			if !yield(n, text) {
				return
			}
			data = rest
		}
	}
}

// nests follows the flow brackets of one line.
func nests(line []byte, depth *int) bool {
	for _, c := range line {
		switch c {
		case '[', '{':
			*depth++
		case ']', '}':
			*depth = max(*depth-1, 0)
		}
		if *depth > maxDepth {
			return true
		}
	}
	return false
}

// blocksOpened counts the indicators that a line begins with.
func blocksOpened(line []byte) (n int) {
	for _, c := range line {
		switch c {
		case '-', '?', ':', '!', '&', '*', '|', '>':
			n++
		case ' ', '\t':
		default:
			return n
		}
	}
	return 0 // a ruler or a document's end, nothing is opened
}

// openMappings counts the lines of the mappings that a line stands in, by how far
// they are indented. Every line that begins no item of a list may be an entry.
type openMappings struct {
	levels []level
	sum    int
}

type level struct{ indent, lines int }

// line takes the next one, and tells how many there are.
func (o *openMappings) line(text []byte) int {
	words := bytes.TrimLeft(text, " ")
	if len(words) == 0 || words[0] == '#' {
		return o.sum
	}
	indent := len(text) - len(words)
	o.close(indent)
	if words[0] == '-' && (len(words) == 1 || words[1] == ' ' || words[1] == '\t') {
		return o.sum // what its item holds is indented further
	}
	if last := len(o.levels) - 1; last < 0 || o.levels[last].indent < indent {
		o.levels = append(o.levels, level{indent: indent})
	}
	o.levels[len(o.levels)-1].lines++
	o.sum++
	return o.sum
}

// close ends the mappings that are indented further.
func (o *openMappings) close(indent int) {
	for len(o.levels) > 0 {
		last := o.levels[len(o.levels)-1]
		if last.indent <= indent {
			return
		}
		o.sum -= last.lines
		o.levels = o.levels[:len(o.levels)-1]
	}
}
