package inject

import (
	"bytes"
	"mime"
	"strings"
)

// setPart writes a text part of multipart/form-data (RFC 7578) in the place of the
// workload's of that name, else before all others: what stands behind a file is
// not read everywhere. A file of that name is refused, and every other part stays.
func setPart(content []byte, boundary, name string, value []byte) ([]byte, error) {
	parts, preamble, epilogue, ok := splitParts(content, boundary)
	if !ok {
		return nil, unsuitable("the body is not the multipart/form-data that it says, or one that can be read in two ways")
	}
	delimiter := "--" + boundary
	if bytes.Contains(value, []byte(delimiter)) {
		return nil, unsuitable("the boundary of the parts stands in the credential")
	}
	ours := []byte("\r\nContent-Disposition: form-data; name=\"" + quoteName(name) + "\"\r\n\r\n" + string(value) + "\r\n")
	kept := make([][]byte, 0, len(parts)+1)
	placed := false
	for _, part := range parts {
		partName, file, ok := disposition(part)
		switch {
		case !ok:
			return nil, unsuitable("a part of the body has no name, or one that can be read in two ways")
		case partName != name:
			kept = append(kept, part)
		case file:
			return nil, unsuitable("the part " + name + " is a file")
		case !placed:
			kept, placed = append(kept, ours), true
		}
	}
	if !placed {
		kept = append([][]byte{ours}, kept...)
	}
	b := append([]byte{}, preamble...)
	for _, part := range kept {
		b = append(append(b, delimiter...), part...)
	}
	return append(append(b, delimiter...), epilogue...), nil
}

// quoteName escapes a name as browsers do.
func quoteName(name string) string {
	return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(name)
}

// splitParts cuts at the delimiters. A part begins behind its delimiter and ends
// with the line end before the next; epilogue begins with the "--" of the last. What
// others could cut in another way is not ok: they would find the credential in
// another field than the one that it is written to.
func splitParts(content []byte, boundary string) (parts [][]byte, preamble, epilogue []byte, ok bool) {
	if !validBoundary(boundary) {
		return nil, nil, nil, false
	}
	d := []byte("--" + boundary)
	begun := -1 // where the part is that was found last
	for from := 0; ; {
		i := bytes.Index(content[from:], d)
		if i < 0 {
			return parts, preamble, epilogue, epilogue != nil
		}
		at := from + i
		from = at + 1
		kind := lineAt(content, at, len(d))
		switch {
		case kind == unclear, epilogue != nil, kind == noDelimiter && begun < 0:
			return nil, nil, nil, false // outside of the parts it says nothing, to some not even in a line
		case kind == noDelimiter:
			continue
		case begun < 0:
			preamble = content[:at]
		default:
			parts = append(parts, content[begun:at])
		}
		begun = at + len(d)
		if from = begun; kind == lastDelimiter {
			epilogue, from = content[begun:], begun+len("--")
		}
	}
}

// delimiter is what a place is at which the boundary stands.
type delimiter uint8

const (
	noDelimiter delimiter = iota
	nextDelimiter
	lastDelimiter
	unclear // to some readers it is one
)

// lineAt says what the boundary is, n bytes with its dashes at content[at:]. A
// delimiter is a line of its own, CRLF in front and behind. Some readers take CR or LF
// alone for a line end, some end a part at any line that begins so (PHP), and some
// want no white space where others allow it (RFC 2046 section 5.1.1).
func lineAt(content []byte, at, n int) delimiter {
	before, behind := content[:at], content[at+n:]
	if at > 0 && before[at-1] != '\n' && before[at-1] != '\r' {
		return noDelimiter
	}
	rest, closing := bytes.CutPrefix(behind, []byte("--"))
	switch {
	case at > 0 && !bytes.HasSuffix(before, []byte("\r\n")):
		return unclear
	case closing && (len(rest) == 0 || bytes.HasPrefix(rest, []byte("\r\n"))):
		return lastDelimiter
	case bytes.HasPrefix(behind, []byte("\r\n")):
		return nextDelimiter
	}
	return unclear
}

// boundaryOf is the boundary that a Content-Type says to every reader; else "".
func boundaryOf(contentType, boundary string) string {
	if strings.Contains(contentType, "*") || strings.Count(strings.ToLower(contentType), "boundary=") != 1 {
		return "" // RFC 2231 is not read everywhere, and some take the first that looks like one
	}
	return boundary
}

// validBoundary is RFC 2046 section 5.1.1.
func validBoundary(s string) bool {
	const symbols = "'()+_,-./:=? "
	for i := range len(s) {
		if fold(s[i]) == '-' && strings.IndexByte(symbols, s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 70 && s[len(s)-1] != ' '
}

// disposition reads what a part says of itself, in one line and once.
func disposition(part []byte) (name string, file, ok bool) {
	head, content, whole := bytes.Cut(bytes.TrimPrefix(part, []byte("\r\n")), []byte("\r\n\r\n"))
	if !whole || !bytes.HasSuffix(content, []byte("\r\n")) {
		return "", false, false // the line end of an empty content is not that of its head: PHP would read on
	}
	seen := 0
	for line := range strings.SplitSeq(string(head), "\r\n") {
		field, value, isField := strings.Cut(line, ":")
		switch {
		case !isField, checkToken(field) != nil, strings.ContainsAny(value, "\r\n\x00"):
			return "", false, false // folded, or of line ends that are not everybody's
		case !equalFold(field, "content-disposition"):
			continue
		}
		if name, file, ok = dispositionValue(value); !ok {
			return "", false, false
		}
		seen++
	}
	return name, file, seen == 1
}

// dispositionValue refuses what RFC 7578 section 4.2 rules out, and quotes in quotes:
// to some readers a backslash is no escape.
func dispositionValue(value string) (name string, file, ok bool) {
	for parameter := range strings.SplitSeq(strings.ToLower(value), ";") {
		if strings.HasPrefix(strings.Trim(parameter, " \t"), "name*") {
			return "", false, false
		}
	}
	_, params, err := mime.ParseMediaType(strings.Trim(value, " \t"))
	if err != nil || strings.Contains(value, `\"`) {
		return "", false, false
	}
	_, file = params["filename"]
	return params["name"], file, true
}
