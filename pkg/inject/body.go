package inject

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/secret"
)

// bodyField is a place in the content, and what stands there.
type bodyField struct {
	form  Form
	name  string   // FormField
	path  []string // JSON: the pointer's tokens
	value secret.Value
}

// digests are fields that tell of content that is no longer what leaves.
var digests = []string{"content-md5", "digest", "content-digest", "repr-digest"}

func (p *Plan) addBody(c *Credential) error {
	f := bodyField{form: c.Form, name: c.Field, value: c.Value}
	if c.Form == JSON {
		if !utf8.Valid(c.Value.Reveal()) {
			return fmt.Errorf("not UTF-8, as JSON is: %w", ErrValue)
		}
		path, err := parsePointer(c.Field)
		if err != nil {
			return err
		}
		f.path = path
	}
	if c.Field == "" || !printable(c.Field) {
		return fmt.Errorf("body field %q: %w", c.Field, ErrField)
	}
	for i := range p.body {
		if p.body[i].overlaps(&f) {
			return fmt.Errorf("body field %s: %w", c.Field, ErrSlotTaken)
		}
	}
	p.body = append(p.body, f)
	return nil
}

// overlaps reports whether both write to one place, or one inside the other.
func (f *bodyField) overlaps(o *bodyField) bool {
	n := min(len(f.path), len(o.path))
	return f.form == o.form && f.name == o.name || f.form == JSON && o.form == JSON && slices.Equal(f.path[:n], o.path[:n])
}

// edits reports whether the plan wants to change content.
func (p *Plan) edits() bool { return len(p.body) > 0 || p.swapsBody }

// injectBody changes the content and returns what leaves.
func (p *Plan) injectBody(m Message, content Content, h *hits) ([]byte, error) {
	kind, err := contentType(m)
	if err != nil {
		return nil, err
	}
	if len(content.Bytes) == 0 && len(p.body) == 0 {
		return content.Bytes, nil
	}
	plain, packed, err := decode(m, content)
	if err != nil {
		return nil, err
	}
	edited, err := p.swapBody(plain, kind.media, content.Limit, h)
	if err != nil {
		return nil, err
	}
	for i := range p.body {
		if edited, err = p.body[i].write(edited, kind); err != nil {
			return nil, err
		}
	}
	switch {
	case bytes.Equal(edited, plain):
		return content.Bytes, nil
	case int64(len(edited)) > content.Limit:
		return nil, errGrown
	case packed:
		edited = pack(edited)
	}
	m.SetContent(edited)
	return edited, nil
}

var errGrown = fmt.Errorf("the changed body: %w", flow.ReasonBodyTooLarge)

// charsets are those in which every byte of ASCII is itself and nothing else, so that
// all readers see the same structure.
var charsets = []string{"", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"}

func (f *bodyField) write(content []byte, kind kind) ([]byte, error) {
	switch {
	case !slices.Contains(charsets, kind.charset):
		return nil, unsuitable(fmt.Sprintf("a credential can't be written into a body in charset %q", kind.charset))
	case f.form == JSON && (kind.media == "application/json" || strings.HasSuffix(kind.media, "+json")):
		return setJSON(content, f.path, f.value.Reveal())
	case f.form == FormField && kind.media == "application/x-www-form-urlencoded":
		return setForm(content, f.name, f.value.Reveal()), nil
	case f.form == FormField && kind.media == "multipart/form-data":
		return setPart(content, kind.boundary, f.name, f.value.Reveal())
	}
	return nil, unsuitable("the route writes a credential into a body of " + f.form.String() + ", and this is " + cmp.Or(kind.media, "of no type"))
}

// unsuitable refuses content that a credential can't be written into.
func unsuitable(why string) error { return fmt.Errorf("%s: %w", why, flow.ReasonBodyUnsuitable) }

// kind is what the content says that it is.
type kind struct{ media, boundary, charset string }

func contentType(m Message) (kind, error) {
	value, types := m.Field("content-type")
	switch {
	case types > 1:
		return kind{}, fmt.Errorf("two content-type fields: %w", flow.ReasonBadRequest)
	case types == 0:
		return kind{}, nil
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return kind{}, unsuitable("content-type can't be read")
	}
	return kind{media, boundaryOf(value, params["boundary"]), strings.ToLower(params["charset"])}, nil
}

// decode takes the content coding off, if it is one that can be put on again.
func decode(m Message, content Content) (plain []byte, packed bool, err error) {
	coding, codings := m.Field("content-encoding")
	switch coding = strings.ToLower(strings.Trim(coding, " \t")); {
	case codings == 0, codings == 1 && (coding == "" || coding == "identity"):
		return content.Bytes, false, nil
	case codings > 1 || coding != "gzip" && coding != "x-gzip":
		return nil, false, unsuitable("content-encoding is neither identity nor gzip")
	}
	z, err := gzip.NewReader(bytes.NewReader(content.Bytes))
	if err != nil {
		return nil, false, unsuitable("the body is not the gzip that it says")
	}
	plain, err = io.ReadAll(io.LimitReader(z, content.Limit+1))
	switch {
	case int64(len(plain)) > content.Limit:
		return nil, false, fmt.Errorf("the body, decompressed, is over limits.edited_body: %w", flow.ReasonBodyTooLarge)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false, unsuitable("the body is not the gzip that it says")
	}
	return plain, true, nil
}

func pack(plain []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain) // into memory
	_ = z.Close()
	return b.Bytes()
}
