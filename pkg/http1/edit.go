package http1

// FieldSet is a set of indexes of Fields.
type FieldSet [MaxFields / 64]uint64

// Add puts the index of a field into the set.
func (s *FieldSet) Add(i int) { s[i/64] |= 1 << (i % 64) }

// Has reports whether the index is in the set.
func (s *FieldSet) Has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// Edit says how a forwarded head differs from the one that came. The zero value
// changes nothing.
type Edit struct {
	// Target replaces the request target; nil leaves it. The caller answers for
	// its syntax.
	Target []byte
	// Drop holds the indexes, in Fields, of the lines that are left out.
	Drop FieldSet
	// Add is appended behind the last field: whole lines, CRLF included, as
	// AppendField makes them.
	Add []byte
}

// Reset empties e and keeps the memory of Add.
func (e *Edit) Reset() { *e = Edit{Add: e.Add[:0]} }

// Empty reports whether e changes nothing.
func (e *Edit) Empty() bool {
	return e.Target == nil && len(e.Add) == 0 && e.Drop == FieldSet{}
}

// DropName drops all fields of that name, which is given in lower case, and
// returns how many there were.
func (e *Edit) DropName(fields []Field, lowerName string) int {
	n := 0
	for i := range fields {
		if NameIs(fields[i].Name, lowerName) {
			e.Drop.Add(i)
			n++
		}
	}
	return n
}

// Append appends the head to dst, edited; a nil e changes nothing. It allocates
// only if dst has no room.
func (r *Request) Append(dst []byte, e *Edit) []byte {
	if e == nil || e.Empty() {
		return append(dst, r.Head...)
	}
	if e.Target == nil {
		return appendEdited(dst, r.Head, 0, r.Fields, e)
	}
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, e.Target...)
	return appendEdited(dst, r.Head, len(r.Method)+1+len(r.Target), r.Fields, e)
}

// Append appends the head to dst, edited; a nil e changes nothing. Edit.Target
// has no meaning here. It allocates only if dst has no room.
func (r *Response) Append(dst []byte, e *Edit) []byte {
	if e == nil || e.Empty() {
		return append(dst, r.Head...)
	}
	return appendEdited(dst, r.Head, 0, r.Fields, e)
}

// appendEdited appends head[from:], whose field lines are fields, without the
// dropped ones. The lines lie one behind the other, so what is between two
// dropped ones is one piece.
func appendEdited(dst, head []byte, from int, fields []Field, e *Edit) []byte {
	end := len(head) - len("\r\n")
	if e.Drop != (FieldSet{}) {
		dst, from = appendKept(dst, head, from, fields, &e.Drop)
	}
	dst = append(dst, head[from:end]...)
	dst = append(dst, e.Add...)
	return append(dst, '\r', '\n')
}

// appendKept appends head[from:] up to the last dropped line and returns the
// index behind that.
func appendKept(dst, head []byte, from int, fields []Field, drop *FieldSet) ([]byte, int) {
	at := lineLength(head, fields)
	for i := range fields {
		next := at + fields[i].size
		if drop.Has(i) {
			dst = append(dst, head[from:at]...)
			from = next
		}
		at = next
	}
	return dst, from
}

// lineLength is the length of the start line, CRLF included: what is left of
// the head without the fields and the empty line.
func lineLength(head []byte, fields []Field) int {
	n := len(head) - 2
	for i := range fields {
		n -= fields[i].size
	}
	return n
}

// AppendField appends "Name: value" CRLF. The caller has asked ValidName and
// ValidValue before.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// ValidName reports whether s is a field name: a token (RFC 9110 section 5.1).
func ValidName[T string | []byte](s T) bool {
	for i := range len(s) {
		if class[s[i]]&isToken == 0 {
			return false
		}
	}
	return len(s) > 0
}

// ValidValue reports whether s may be the value of a field: no control byte but
// HTAB, no whitespace around it (RFC 9110 section 5.5).
func ValidValue[T string | []byte](s T) bool {
	for i := range len(s) {
		if class[s[i]]&isValue == 0 {
			return false
		}
	}
	space := func(c byte) bool { return c == ' ' || c == '\t' }
	return len(s) == 0 || !space(s[0]) && !space(s[len(s)-1])
}
