package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// cell is one field of a row. Its text is safe for a terminal already.
type cell struct {
	text, colour string
	right        bool // flush right
	free         bool // makes no column wider
}

// table lines cells up in columns. A column that no row so far had anything for
// takes no space.
type table struct {
	paint  painter
	widths []int
}

// maxColumn is how wide a column grows for the sake of the others; what is
// longer than that sticks out.
const maxColumn = 56

// fit makes room for rows that are still to be printed.
func (t *table) fit(rows ...[]cell) {
	for _, row := range rows {
		for len(t.widths) < len(row) {
			t.widths = append(t.widths, 0)
		}
		for i, c := range row {
			if n := utf8.RuneCountInString(c.text); !c.free {
				t.widths[i] = max(t.widths[i], min(n, maxColumn))
			}
		}
	}
}

// print prints a row.
func (t *table) print(w io.Writer, indent string, row []cell) error {
	t.fit(row)
	var b strings.Builder
	b.WriteString(indent)
	pending := 0 // spaces, written only before more text
	for i, c := range row {
		if t.widths[i] == 0 && c.text == "" {
			continue
		}
		pad := max(0, t.widths[i]-utf8.RuneCountInString(c.text))
		if c.right {
			pending, pad = pending+pad, 0
		}
		if c.text != "" {
			b.WriteString(strings.Repeat(" ", pending))
			b.WriteString(t.paint.in(c.colour, c.text))
			pending = 0
		} else if c.right {
			pad = 0
		}
		pending += pad + 2
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}
