package inject

// slots are the fields that a plan writes. Names are folded: lower case, and
// every character but letters and digits is '-'.
type slots []string

// text is a field as HTTP/1 has it, or as HTTP/2 does.
type text interface{ ~string | ~[]byte }

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}

func foldName(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = fold(c)
	}
	return string(b)
}

func has[T text](s slots, name T) bool {
	for _, slot := range s {
		if folds(name, slot) {
			return true
		}
	}
	return false
}

// folds reports whether name, folded, is slot.
func folds[T text](name T, slot string) bool {
	if len(name) != len(slot) {
		return false
	}
	for i := range len(name) {
		if fold(name[i]) != slot[i] {
			return false
		}
	}
	return true
}

// equalFold compares ASCII without regard to case; lower is in lower case.
func equalFold[T text](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Sieve tells a Message which of the workload's fields must go. It is valid
// during the call of Strip that it was handed to.
type Sieve struct {
	plan      *Plan
	nominated bool        // a Connection option names a field of ours
	jar       []string    // Cookie fields, where one cookie of them is ours
	changed   [][2]string // fields in which placeholders were swapped
	asked     hits
}

// Drop reports whether a field must not be forwarded. It is called once for each
// field of the head, in any order.
func (s *Sieve) Drop(name, value []byte) bool { return drop(s, name, value) }

// DropString is Drop for strings.
func (s *Sieve) DropString(name, value string) bool { return drop(s, name, value) }

func drop[T text](s *Sieve, name, value T) bool {
	switch {
	case len(s.plan.cookies) > 0 && equalFold(name, "cookie"):
		s.jar = append(s.jar, string(value))
		return true
	case has(s.plan.slots, name):
		return true
	case equalFold(name, "connection"):
		s.nominated = s.nominated || nominates(s, value)
	case len(s.plan.swaps) > 0:
		return s.swaps(string(name), string(value))
	}
	return false
}

// swaps reports whether the field goes out with another value.
func (s *Sieve) swaps(name, value string) bool {
	swapped, changed := s.plan.swapField(name, value, &s.asked)
	if changed {
		s.changed = append(s.changed, [2]string{name, swapped})
	}
	return changed
}

// nominates reports whether a Connection value asks a proxy behind us to take a
// field off that we add or sign (RFC 9110 section 7.6.1).
func nominates[T text](s *Sieve, value T) bool {
	for start := 0; start <= len(value); {
		end := start
		for end < len(value) && value[end] != ',' {
			end++
		}
		option := trimSpace(value[start:end])
		if has(s.plan.slots, option) || len(s.plan.signers) > 0 && equalFold(option, "content-type") {
			return true
		}
		start = end + 1
	}
	return false
}

// trimSpace cuts optional white space (RFC 9110 section 5.6.3) off both ends.
func trimSpace[T text](v T) T {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}
