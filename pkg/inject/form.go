package inject

import (
	"bytes"
	"mime"
	"net/textproto"
	"strings"
)

// setForm writes a parameter of application/x-www-form-urlencoded, and takes the
// workload's of that name out. Every other byte stays.
func setForm(content []byte, name string, value []byte) []byte {
	b := stripPairs(nil, string(content), []string{name})
	if len(b) > 0 {
		b = append(b, '&')
	}
	b = append(escape(b, []byte(name)), '=')
	return escape(b, value)
}

// setPart writes a text part of multipart/form-data (RFC 7578) in the place of the
// workload's of that name, else before all others: what stands behind a file is
// not read everywhere. A file of that name is refused, and every other part stays.
func setPart(content []byte, boundary, name string, value []byte) ([]byte, error) {
	parts, preamble, epilogue, ok := splitParts(content, boundary)
	if !ok {
		return nil, unsuitable("the body is not the multipart/form-data that it says")
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
			return nil, unsuitable("a part of the body has no name")
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
// with the line end before the next; epilogue begins with the "--" of the last.
func splitParts(content []byte, boundary string) (parts [][]byte, preamble, epilogue []byte, ok bool) {
	if boundary == "" || len(boundary) > 70 {
		return nil, nil, nil, false
	}
	at, n := delimiter(content, 0, boundary)
	if at < 0 {
		return nil, nil, nil, false
	}
	preamble = content[:at]
	for {
		rest := content[at+n:]
		if bytes.HasPrefix(rest, []byte("--")) {
			return parts, preamble, rest, true
		}
		next, _ := delimiter(content, at+n, boundary)
		if next < 0 {
			return nil, nil, nil, false
		}
		parts = append(parts, content[at+n:next])
		at = next
	}
}

// delimiter finds the next line that begins with the boundary and has nothing behind
// it but "--" or a line end, perhaps after white space. White space and more is
// read in two ways, so it ends the search.
func delimiter(content []byte, from int, boundary string) (at, n int) {
	d := []byte("--" + boundary)
	for {
		i := bytes.Index(content[from:], d)
		if i < 0 {
			return -1, 0
		}
		i += from
		behind := content[i+len(d):]
		padded := bytes.TrimLeft(behind, " \t")
		starts := i == 0 || i >= 2 && content[i-2] == '\r' && content[i-1] == '\n'
		switch {
		case !starts:
		case bytes.HasPrefix(padded, []byte("\r\n")), bytes.HasPrefix(behind, []byte("--")):
			return i, len(d)
		case len(padded) < len(behind):
			return -1, 0
		}
		from = i + 1
	}
}

// disposition reads what a part says of itself.
func disposition(part []byte) (name string, file, ok bool) {
	head, _, found := bytes.Cut(part, []byte("\r\n\r\n"))
	if !found {
		return "", false, false
	}
	seen := 0
	for line := range strings.SplitSeq(strings.TrimLeft(string(head), " \t\r\n"), "\r\n") {
		field, value, _ := strings.Cut(line, ":")
		if textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(field)) != "Content-Disposition" {
			continue
		}
		_, params, err := mime.ParseMediaType(strings.TrimSpace(value))
		if err != nil {
			return "", false, false
		}
		_, file = params["filename"]
		name = params["name"]
		seen++
	}
	return name, file, seen == 1
}
