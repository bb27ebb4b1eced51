package h2

import (
	"strings"

	"github.com/outwarden/outwarden/pkg/http1"
	"golang.org/x/net/http2/hpack"
)

// section is what a field section says of its message.
type section struct {
	Request
	status  int
	host    string
	hasHost bool
}

// Pseudo-fields, as bits of what was seen (RFC 9113 section 8.3).
const (
	sawMethod = 1 << iota
	sawScheme
	sawAuthority
	sawPath
	sawStatus
)

// checkFields reads a section's fields and returns what is wrong with it, "" if
// nothing is. allowed are the pseudo-fields that may stand in it.
func (s *section) checkFields(fields []hpack.HeaderField, allowed int) (seen int, flaw string) {
	s.Length = -1
	regular := false
	for i := range fields {
		f := &fields[i]
		if len(f.Name) > 0 && f.Name[0] == ':' {
			if regular {
				return seen, "a pseudo-field behind a field"
			}
			bit := s.pseudo(f)
			if bit&allowed == 0 {
				return seen, "a pseudo-field that does not belong there"
			}
			if bit&seen != 0 {
				return seen, "a pseudo-field twice"
			}
			seen |= bit
		} else {
			regular = true
			if flaw := s.regular(f); flaw != "" {
				return seen, flaw
			}
		}
		if !http1.ValidValue(f.Value) {
			return seen, "a field value with a byte that may not be there"
		}
	}
	return seen, ""
}

// trimmed is a value without the white space around it. RFC 9113 section 8.2.1 calls such
// a field malformed, but HTTP/1 reads it so, libraries of both sides send it over HTTP/2
// as it was there, and curl and Envoy put up with it. Whoever is next reads it in one way.
// What frames or routes a message is not touched.
func trimmed(v string) string {
	space := func(c byte) bool { return c == ' ' || c == '\t' }
	for len(v) > 0 && space(v[0]) {
		v = v[1:]
	}
	for len(v) > 0 && space(v[len(v)-1]) {
		v = v[:len(v)-1]
	}
	return v
}

func (s *section) pseudo(f *hpack.HeaderField) int {
	switch f.Name {
	case ":method":
		s.Method = f.Value
		return sawMethod
	case ":scheme":
		s.Scheme = f.Value
		return sawScheme
	case ":authority":
		s.Authority = f.Value
		return sawAuthority
	case ":path":
		s.Path = f.Value
		return sawPath
	case ":status":
		s.status = statusCode(f.Value)
		return sawStatus
	}
	return 0
}

// regular checks a field that is no pseudo-field (RFC 9113 sections 8.2.1, 8.2.2).
func (s *section) regular(f *hpack.HeaderField) string {
	if !lowerName(f.Name) {
		return "a field name that is no lower-case token"
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return "a field that belongs to an HTTP/1 connection"
	case "te":
		if !strings.EqualFold(f.Value, "trailers") {
			return "te is not trailers"
		}
	case "host":
		if s.hasHost {
			return "two host fields"
		}
		s.host, s.hasHost = f.Value, true
	case "content-length":
		n := contentLength(f.Value)
		if n < 0 || s.Length >= 0 {
			return "content-length is no number, or stands there twice"
		}
		s.Length = n
	default:
		f.Value = trimmed(f.Value)
	}
	return ""
}

func lowerName(name string) bool {
	for i := range len(name) {
		if name[i] >= 'A' && name[i] <= 'Z' {
			return false
		}
	}
	return http1.ValidName(name)
}

// statusCode returns three digits as a number, 0 if they are not that.
func statusCode(v string) int {
	n := contentLength(v)
	if len(v) != 3 || n < 100 {
		return 0
	}
	return int(n)
}

// contentLength returns -1 for what is not all digits or too large to be true.
func contentLength(v string) int64 {
	if len(v) == 0 || len(v) > 18 {
		return -1
	}
	var n int64
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return -1
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n
}

// checkRequest reads the head of a request (RFC 9113 section 8.3.1).
func (s *section) checkRequest(fields []hpack.HeaderField, end bool) *RequestError {
	seen, flaw := s.checkFields(fields, sawMethod|sawScheme|sawAuthority|sawPath)
	if flaw == "" {
		flaw = s.control(seen)
	}
	if flaw == "" && end && s.Length > 0 {
		flaw = "content-length, but no content"
	}
	if flaw != "" {
		return &RequestError{Detail: flaw}
	}
	if s.Method == "CONNECT" {
		return nil
	}
	if err := http1.CheckTarget(s.Path, s.Method); err != nil {
		return &RequestError{Status: 400, Detail: err.Error()}
	}
	return nil
}

// control checks the pseudo-fields of a request against each other.
func (s *section) control(seen int) string {
	want, tunnel := sawMethod|sawScheme|sawPath, s.Method == "CONNECT"
	if tunnel {
		want = sawMethod | sawAuthority
	}
	switch {
	case seen&^sawAuthority != want&^sawAuthority || tunnel && seen != want:
		return "a pseudo-field is missing, or does not go with the method"
	case !http1.ValidName(s.Method):
		return ":method is no token"
	case !tunnel && !strings.EqualFold(s.Scheme, "https") && !strings.EqualFold(s.Scheme, "http"):
		return ":scheme is neither http nor https"
	case !tunnel && (s.Path == "" || s.Path[0] != '/' && (s.Path != "*" || s.Method != "OPTIONS")):
		return ":path does not begin with a slash"
	case strings.IndexByte(s.Path, ' ') >= 0 || strings.IndexByte(s.Path, '\t') >= 0:
		return ":path with a space"
	}
	return s.oneAuthority(seen)
}

// oneAuthority wants :authority, or host in its place, and both to be the same.
func (s *section) oneAuthority(seen int) string {
	if seen&sawAuthority == 0 {
		s.Authority = s.host
	} else if s.hasHost && !strings.EqualFold(s.host, s.Authority) {
		return "host and :authority differ"
	}
	if s.Authority == "" {
		return "no :authority"
	}
	for i := range len(s.Authority) {
		switch s.Authority[i] {
		case '@', '/', '?', '#', '\\', ' ', '\t', ',':
			return ":authority is more than a host and a port"
		}
	}
	return ""
}

// checkResponse reads the head of a response (RFC 9113 section 8.3.2).
func (s *section) checkResponse(fields []hpack.HeaderField, end bool) string {
	seen, flaw := s.checkFields(fields, sawStatus)
	switch {
	case flaw != "":
		return flaw
	case seen != sawStatus || s.status == 0:
		return "no :status, or it is no number of three digits"
	case s.status == 101:
		return "status 101"
	case s.status < 200 && end:
		return "an interim response that ends the stream"
	}
	return ""
}

func (s *section) checkTrailers(fields []hpack.HeaderField) string {
	_, flaw := s.checkFields(fields, 0)
	return flaw
}
