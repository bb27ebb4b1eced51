package config

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// text is a scalar taken as it is written: 1000, yes and 192.0.2.1 are text.
type text struct {
	value string
	at    Position // zero: the key is absent
}

func (t *text) decode(d *decoder, n *node) {
	t.at = n.at
	switch {
	case n.kind == nodeNull || n.kind == nodeScalar && n.value == "":
		d.fail(n.at, "", "value is empty")
	case n.kind != nodeScalar:
		d.fail(n.at, quotesHint(n), "must be a single value")
	case !printable(n.value):
		d.fail(n.at, "a value stands on one line", "value has a control byte (CR, LF, NUL or another) or is not UTF-8")
	default:
		t.value = n.value
	}
}

// quotesHint: in brackets the YAML parser takes secret:NAME for a mapping.
func quotesHint(n *node) string {
	if n.kind == nodeMapping && len(n.entries) == 1 && n.entries[0].key.value == "secret" {
		return `write ["secret:NAME", ...] with quotes`
	}
	return ""
}

// printable reports whether s may go into a header, a path or a line of a log.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

func (t *text) absent() bool { return t.at.IsZero() }

// ok reports whether the value is present and sound.
func (t *text) ok() bool { return t.value != "" }

// number is an unsigned integer, decimal or 0x hexadecimal.
type number struct {
	value uint64
	sound bool
	at    Position
}

func (v *number) decode(d *decoder, n *node) {
	v.at = n.at
	parsed, err := parseNumber(n.value)
	if n.kind != nodeScalar || !n.plain || err != nil {
		d.fail(n.at, numberHint(n), "must be a whole number")
		return
	}
	v.value, v.sound = parsed, true
}

func parseNumber(s string) (uint64, error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(digits, 16, 64)
	}
	if len(s) > 1 && s[0] == '0' { // octal to YAML 1.1, decimal to 1.2
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

func numberHint(n *node) string {
	if n.plain && len(n.value) > 1 && n.value[0] == '0' {
		return "in decimal without a leading zero, or 0x and hexadecimal"
	}
	return ""
}

// toggle is true or false.
type toggle struct {
	value bool
	at    Position
}

func (v *toggle) decode(d *decoder, n *node) {
	v.at = n.at
	if n.kind != nodeScalar || !n.plain || n.value != "true" && n.value != "false" {
		d.fail(n.at, "", "must be true or false")
		return
	}
	v.value = n.value == "true"
}

// size is a number of bytes, with a unit if it has one: 512KiB, 10MB, 4096.
type size struct {
	value int64
	at    Position
}

func (v *size) decode(d *decoder, n *node) {
	v.at = n.at
	bytes, ok := parseSize(n.value)
	if n.kind != nodeScalar || !ok {
		d.fail(n.at, "", "must be a size such as 512KiB, 10MB or 4096")
		return
	}
	v.value = bytes
}

func parseSize(s string) (int64, bool) {
	digits := strings.TrimRight(s, "BKMGTikb")
	units := map[string]int64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}
	unit, known := units[s[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if !known || err != nil || n < 1 || n > 1<<40/unit {
		return 0, false
	}
	return n * unit, true
}

// span is how long: 30s, 5m, 1h30m.
type span struct {
	value time.Duration
	at    Position
}

func (v *span) decode(d *decoder, n *node) {
	v.at = n.at
	value, err := time.ParseDuration(n.value)
	if n.kind != nodeScalar || err != nil || value <= 0 {
		d.fail(n.at, "", "must be a time such as 30s, 5m or 1h30m")
		return
	}
	v.value = value
}

// later is a key that is known to be coming. A file that relies on it must not
// load as if it were obeyed.
type later struct{ set bool }

func (l *later) decode(d *decoder, key *node) {
	l.set = true
	d.fail(key.at, "remove the key; the route would not do what it says", "%q is not supported yet", key.value)
}

// list is a sequence; a single value stands for a sequence of one.
type list[T any] []T

func (l *list[T]) decode(d *decoder, n *node) {
	items := []*node{n}
	if n.kind == nodeSequence {
		items = n.items
	}
	if n.kind == nodeSequence && len(items) == 0 {
		d.fail(n.at, "remove the key", "list is empty")
	}
	for _, item := range items {
		var value T
		d.into(&value, item)
		*l = append(*l, value)
	}
}

// named is a mapping from free names to values, in the order of the file.
type named[T any] []namedValue[T]

type namedValue[T any] struct {
	name  text
	value T
}

func (m *named[T]) decode(d *decoder, n *node) {
	if n.kind != nodeMapping {
		d.fail(n.at, "", "must be a mapping, NAME: value")
		return
	}
	for _, e := range n.entries {
		var v namedValue[T]
		d.into(&v.name, e.key)
		d.into(&v.value, e.value)
		*m = append(*m, v)
	}
}
