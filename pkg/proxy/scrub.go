package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/scrub"
)

// Scrub is what a route looks for in responses. The zero Scrub looks for nothing.
type Scrub struct {
	Filter *scrub.Filter
	Alert  bool // what is found is recorded, and stays
}

// scrubPatience is how long the last bytes of what came are kept back if they may be
// the beginning of a credential, and the content does not go on. Only a credential
// that is sent in two parts further apart shows its first part.
const scrubPatience = 50 * time.Millisecond

// scrubber takes credentials out of the content of a response.
type scrubber interface {
	Next(p []byte) ([]byte, error)
	Held() bool
	Pause() ([]byte, error)
	Close(p []byte) ([]byte, error)
	Stop()
}

// scrubs reports whether responses to the request are looked into.
func (q *request) scrubs() bool { return q.plan != nil && !q.plan.Scrub.Filter.Empty() }

func (q *request) scrubOptions() scrub.Options { return scrub.Options{Keep: q.plan.Scrub.Alert} }

// described is what a response head says of its content.
type described struct {
	status                   int
	called                   bool // by gRPC
	sized                    bool // its length is announced
	encoding, kind, messages string
}

// note takes one field; name is in lower case.
func (d *described) note(name, value string) {
	switch name {
	case "content-encoding":
		if d.encoding != "" {
			value = d.encoding + ", " + value
		}
		d.encoding = value
	case "content-type":
		d.kind = value
	case "grpc-encoding":
		d.messages = value
	}
}

// recoded reports whether the content is to be decoded and encoded anew.
func (d *described) recoded() bool { return !d.framed() && scrub.Coded(d.encoding) }

// framed reports whether the content is messages with their lengths in front. That is
// so where the workload speaks gRPC: who does not would read it as it comes.
func (d *described) framed() bool { return d.called && isGRPC(d.kind) }

// isGRPC reports whether a content type is of gRPC or gRPC-Web; its text form is
// base64 of it, and has no frames that can be seen.
func isGRPC(contentType string) bool {
	kind := strings.ToLower(contentType)
	return strings.HasPrefix(kind, "application/grpc") && !strings.HasPrefix(kind, "application/grpc-web-text")
}

// recodes reports whether the content leaves in other bytes than it came in.
func (q *request) recodes(d *described) bool { return d.recoded() && !q.plan.Scrub.Alert }

// scrubber makes what looks into the content. It is nil where that can't be done and
// the route says only alert; otherwise such a response is refused. A content whose
// length is known keeps it: so do the offsets of a range, and what was announced.
func (q *request) scrubber(d *described) (scrubber, *failure) {
	filter, o := q.plan.Scrub.Filter, q.scrubOptions()
	o.Fit = d.sized || d.status == http.StatusPartialContent
	switch {
	case d.framed() && !scrub.Coded(d.encoding) && !scrub.Coded(d.messages):
		return filter.Frames(scrub.GRPC, o, &q.scrubbed), nil
	case d.framed():
		return nil, q.unreadable("messages are compressed")
	case d.recoded() && d.status == http.StatusPartialContent:
		return nil, q.unreadable("a part of an encoded content can't be decoded")
	case d.recoded():
		o.Fit = false
	}
	body, err := filter.Body(d.encoding, o, &q.scrubbed)
	if err != nil {
		return nil, q.unreadable(err.Error())
	}
	return body, nil
}

func (q *request) unreadable(why string) *failure {
	if q.plan.Scrub.Alert {
		return nil
	}
	return refusal(flow.ReasonContentCoding, why+", so credentials can't be taken out of it; see scrub: of the route")
}

// scrubFailure turns an error of a scrubber into an answer.
func scrubFailure(err error) *failure {
	if errors.Is(err, scrub.ErrContent) {
		return refusal(flow.ReasonUpstreamResponse, err.Error())
	}
	return refusal(flow.ReasonContentCoding, err.Error())
}

// changes are the fields that say of a content what no longer holds once it is
// encoded anew: how long it is, what its digest is, that parts of it can be had.
var changes = []string{"content-length", "content-digest", "repr-digest", "digest", "content-md5", "accept-ranges"}

// weak makes an entity tag one of a content that is equal in meaning but not in its
// bytes (RFC 9110 section 8.8.3).
func weak(tag string) string {
	if strings.HasPrefix(tag, "W/") {
		return tag
	}
	return "W/" + tag
}

// frames reports whether a field frames a message. Its digits are no credential.
func frames(lowerName string) bool {
	switch lowerName {
	case ":status", "content-length", "content-range", "transfer-encoding", "connection", "content-encoding", "upgrade":
		return true
	}
	return false
}

// cleanValue scrubs the value of a field.
func (q *request) cleanValue(value []byte) []byte {
	o := q.scrubOptions()
	cleaned := q.plan.Scrub.Filter.Clean(value, o, &q.scrubbed)
	if http1.ValidValue(cleaned) || bytes.Equal(cleaned, value) {
		return cleaned
	}
	o.Fit = true
	var again scrub.Tally // they are counted already
	return q.plan.Scrub.Filter.Clean(value, o, &again)
}

// cleanName scrubs the name of a field, which must stay one.
func (q *request) cleanName(name []byte) []byte {
	if cleaned := q.plan.Scrub.Filter.Clean(name, q.scrubOptions(), &q.scrubbed); bytes.Equal(cleaned, name) {
		return name
	}
	return bytes.Repeat([]byte("x"), len(name))
}

// cleanHead scrubs the text of a head, or of a trailer section.
func (q *request) cleanHead(text []byte) []byte {
	if !q.plan.Scrub.Filter.Has(text) {
		return text
	}
	var out []byte
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if name, value, isField := bytes.Cut(line, []byte(":")); isField && http1.ValidName(name) {
			out = q.cleanField(out, name, value)
		} else {
			out = q.cleanStatus(out, line)
		}
		out = append(out, "\r\n"...)
	}
	return out[:len(out)-len("\r\n")]
}

func (q *request) cleanField(dst, name, value []byte) []byte {
	dst = append(append(dst, q.cleanName(name)...), ':')
	if frames(strings.ToLower(string(name))) {
		return append(dst, value...)
	}
	return append(append(dst, ' '), q.cleanValue(bytes.Trim(value, " \t"))...)
}

// cleanStatus scrubs a status line, of which only the phrase says nothing, or the
// empty line.
func (q *request) cleanStatus(dst, line []byte) []byte {
	at := min(len("HTTP/1.1 200 "), len(line))
	return append(append(dst, line[:at]...), q.cleanValue(line[at:])...)
}

// reflected is what the record says of credentials that came back.
func (q *request) reflected() (all []audit.Scrubbed) {
	for _, f := range q.scrubbed {
		all = append(all, audit.Scrubbed{Name: f.Name, Count: f.Count})
	}
	return all
}
