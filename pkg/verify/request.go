package verify

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Field is one field line, as it came.
type Field struct{ Name, Value string }

// Request is a request as it came: nothing decoded, nothing re-ordered.
type Request struct {
	Method string
	Target string  // path with query, or the absolute form
	Host   string  // value of Host or :authority
	Scheme string  // "https" if empty
	Fields []Field // without Host
	Body   []byte
}

// FromHTTP makes a Request of r and reads its body, at most most bytes, which
// r.Body gives anew afterwards. r.Trailer is gone then, since nobody signed it. *http.MaxBytesError is its error for more. r must
// come from net/http's server: its RequestURI is what was sent.
func FromHTTP(w http.ResponseWriter, r *http.Request, most int64) (*Request, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return nil, err
	}
	r.Trailer = nil // a signature covers none
	r.Body = io.NopCloser(bytes.NewReader(body))
	out := &Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Scheme: "https", Body: body}
	if r.TLS == nil {
		out.Scheme = "http"
	}
	for name, values := range r.Header {
		for _, v := range values {
			out.Fields = append(out.Fields, Field{name, v})
		}
	}
	out.addLength(r)
	return out, nil
}

// addLength puts back what net/http takes out of the head, for signatures that
// cover it.
func (r *Request) addLength(from *http.Request) {
	has := slices.ContainsFunc(r.Fields, func(f Field) bool { return strings.EqualFold(f.Name, "content-length") })
	if !has && from.ContentLength >= 0 && len(from.TransferEncoding) == 0 {
		r.Fields = append(r.Fields, Field{"Content-Length", strconv.FormatInt(from.ContentLength, 10)})
	}
}
