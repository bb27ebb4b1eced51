package hmacsig

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func preset(t testing.TB, name string) TemplateScheme {
	t.Helper()
	s, err := TemplatePreset(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// webhook is one entry of vectors.json.
type webhook struct {
	Name, Secret, ID, Body, Signature string
	SignedContent                     string `json:"signed_content"`
	Timestamp                         int64
	Headers                           map[string]string
}

// TestWebhookVectors: the published signatures of github, slack and
// standard-webhooks. Stripe publishes none.
func TestWebhookVectors(t *testing.T) {
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		t.Skip("OUTWARDEN_CONFORMANCE is not set: no conformance data")
	}
	b, err := os.ReadFile(filepath.Join(dir, "webhooks", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []webhook
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) < 3 {
		t.Fatalf("%d vectors, want 3 at the least: %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { testWebhook(t, &v) })
	}
}

func testWebhook(t *testing.T, v *webhook) {
	s := preset(t, v.Name)
	m := Message{Method: "POST", Target: "/", Nonce: v.ID, Time: time.Unix(v.Timestamp, 0), Body: strings.NewReader(v.Body)}
	got, err := s.Sign([]byte(v.Secret), &m)
	if err != nil || len(got) != len(v.Headers) {
		t.Fatalf("%v, %v", got, err)
	}
	received := Message{Method: "POST", Target: "/", Body: strings.NewReader(v.Body)}
	for _, h := range got {
		if h.Value != v.Headers[h.Name] {
			t.Errorf("%s: %q, want %q", h.Name, h.Value, v.Headers[h.Name])
		}
		received.Fields = append(received.Fields, Header{h.Name, v.Headers[h.Name]})
	}
	r, err := s.Verify([]byte(v.Secret), &received)
	if err != nil || r.Nonce != v.ID || v.Timestamp != 0 && r.Time.Unix() != v.Timestamp {
		t.Errorf("verify: %+v, %v", r, err)
	}
	for i := range v.Body {
		b := []byte(v.Body)
		b[i] ^= 1
		received.Body = bytes.NewReader(b)
		if _, err := s.Verify([]byte(v.Secret), &received); !errors.Is(err, ErrMismatch) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// TestKnoxcallTwice: the template and the Scheme sign alike and verify each other.
func TestKnoxcallTwice(t *testing.T) {
	scheme, template := knoxcall(t), preset(t, "knoxcall")
	if !slices.Equal(scheme.Fields(), template.FieldNames()) || template.NeedsNonce() || template.Name() != "knoxcall" {
		t.Errorf("fields %v", template.FieldNames())
	}
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		in := Input{
			Method: "PUT", Target: rapid.StringMatching(`/[!-~]{0,30}`).Draw(t, "target"), BodySHA256: sha256.Sum256(body),
			ContentType: rapid.StringMatching(`[!-~]{0,9}`).Draw(t, "type"), Nonce: rapid.StringMatching(`[0-9a-f]{0,4}`).Draw(t, "nonce"),
			Time: time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "time"), 0),
		}
		m := Message{Method: in.Method, Target: in.Target, Nonce: in.Nonce, Time: in.Time, Body: bytes.NewReader(body)}
		if in.ContentType != "" {
			m.Fields = []Header{{"Content-Type", in.ContentType}}
		}
		fields, err := template.Sign(key, &m)
		if err != nil || !slices.Equal(fields, scheme.Sign(key, in)) {
			t.Fatalf("%v, %v\nwant %v", fields, err, scheme.Sign(key, in))
		}
		m.Fields = append(m.Fields, fields...)
		if r, err := template.Verify(key, &m); err != nil || r.Nonce != in.Nonce || !r.Time.Equal(in.Time) {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

// TestStripe: made with openssl dgst -sha256 -hmac over "1700000000.{}"; older
// versions and a second key's signature are passed over.
func TestStripe(t *testing.T) {
	s := preset(t, "stripe")
	m := Message{Time: time.Unix(1700000000, 0), Body: strings.NewReader("{}")}
	got, err := s.Sign([]byte("whsec_test"), &m)
	if err != nil {
		t.Fatal(err)
	}
	const sum = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
	if want := "t=1700000000,v1=" + sum; len(got) != 1 || got[0] != (Header{"Stripe-Signature", want}) {
		t.Errorf("%v, want %s", got, want)
	}
	zeroes := strings.Repeat("0", 64)
	for value, want := range map[string]error{
		"t=1700000000,v1=" + sum:                           nil,
		"t=1700000000,v0=abc,v1=" + zeroes + ",v1=" + sum:  nil,
		"v1=" + sum + ",t=1700000000":                      nil,
		"t=1700000001,v1=" + sum:                           ErrMismatch,
		"t=1700000000,v1=" + zeroes:                        ErrMismatch,
		"t=1700000000,v0=" + sum:                           ErrMalformed,
		"t=1700000000,t=1700000000,v1=" + sum:              ErrMalformed,
		"t=01700000000,v1=" + sum:                          ErrMalformed,
		"t=+1700000000,v1=" + sum:                          ErrMalformed,
		"v1=" + sum:                                        ErrMalformed,
		"t=1700000000,v1=" + strings.ToUpper(sum):          ErrMismatch,
		"t=1700000000" + strings.Repeat(",v1="+zeroes, 17): ErrMalformed,
		"": ErrMalformed,
	} {
		in := Message{Body: strings.NewReader("{}"), Fields: []Header{{"stripe-signature", value}}}
		if _, err := s.Verify([]byte("whsec_test"), &in); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
}

// everything is a template that uses each variable.
func everything(t testing.TB) TemplateScheme {
	t.Helper()
	s, err := Template{
		Name: "everything", Algorithm: "sha512", Encoding: "base64url", Time: "rfc3339", Key: "hex",
		Text: "{method} {host} {target} {path} {query} {query.sorted}\n{header:X-A}[[ {header:x-b}]]\n{timestamp}[[ {nonce}]]\n" +
			"{body:sha1:hex} {body:sha384:base64} {body:sha512:base64url}\n{body}",
		Fields: []FieldTemplate{{"Date2", "<{timestamp}>", ""}, {"N", "{nonce}", ""}, {"Sig", "s={signature}", ""}},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTemplateTamper: each variable is covered.
func TestTemplateTamper(t *testing.T) {
	s, secret := everything(t), []byte("6b6579")
	build := func() Message {
		return Message{Method: "GET", Host: "h", Target: "/p%20?b=2&a=1&a=0", Time: time.Unix(1700000000, 5), Nonce: "n", Body: strings.NewReader("body"),
			Fields: []Header{{"X-A", " 1 "}, {"x-a", "2"}, {"X-B", "b"}}}
	}
	m := build()
	fields, err := s.Sign(secret, &m)
	if err != nil || fields[0].Value != "<2023-11-14T22:13:20Z>" {
		t.Fatalf("%v, %v", fields, err)
	}
	for name, edit := range map[string]func(*Message){
		"":       func(*Message) {},
		"method": func(m *Message) { m.Method = "PUT" },
		"host":   func(m *Message) { m.Host = "i" },
		"path":   func(m *Message) { m.Target = "/p ?b=2&a=1&a=0" },
		"query":  func(m *Message) { m.Target = "/p%20?a=1&b=2&a=0" },
		"field":  func(m *Message) { m.Fields[1].Value = "3" },
		"gone":   func(m *Message) { m.Fields = m.Fields[:2] },
		"body":   func(m *Message) { m.Body = strings.NewReader("bodz") },
		"empty":  func(m *Message) { m.Body = nil },
	} {
		m := build()
		edit(&m)
		m.Fields = append(m.Fields, fields...)
		r, err := s.Verify(secret, &m)
		if name == "" && (err != nil || r.Nonce != "n" || len(r.MAC) != 64) {
			t.Errorf("as signed: %+v, %v", r, err)
		}
		if name != "" && !errors.Is(err, ErrMismatch) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	for i := range fields {
		m := build()
		m.Fields = append(m.Fields, fields...)
		m.Fields = append(m.Fields, fields[i])
		if _, err := s.Verify(secret, &m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s twice: %v", fields[i].Name, err)
		}
	}
	if _, err := s.Sign([]byte("xyz"), &m); !errors.Is(err, ErrMalformed) {
		t.Errorf("a secret that is not hex: %v", err)
	}
	m.Fields[0].Value = "a\nb"
	if _, err := s.Sign(secret, &m); !errors.Is(err, ErrControlByte) {
		t.Errorf("line break: %v", err)
	}
}

func TestSortedQuery(t *testing.T) {
	for query, want := range map[string]string{"": "", "b=2&a=1&a=0": "a=0&a=1&b=2", "a-3=1&a=2": "a=2&a-3=1", "z&a=%20": "a=%20&z"} {
		if got := sortedQuery(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestTemplateRefused(t *testing.T) {
	good := Template{Name: "x", Text: "{body}", Algorithm: "sha256", Encoding: "hex", Fields: []FieldTemplate{{"S", "{signature}", ""}}}
	if _, err := good.Compile(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Template){
		"no name":            func(t *Template) { t.Name = "" },
		"algorithm":          func(t *Template) { t.Algorithm = "md5" },
		"encoding":           func(t *Template) { t.Encoding = "HEX" },
		"time":               func(t *Template) { t.Time = "min" },
		"key":                func(t *Template) { t.Key = "utf8" },
		"no text":            func(t *Template) { t.Text = "" },
		"unknown variable":   func(t *Template) { t.Text = "{bod}" },
		"signature in text":  func(t *Template) { t.Text = "{signature}" },
		"body digest":        func(t *Template) { t.Text = "{body:md5:hex}" },
		"body encoding":      func(t *Template) { t.Text = "{body:sha256}" },
		"header name":        func(t *Template) { t.Text = "{header:}" },
		"argument":           func(t *Template) { t.Text = "{method:x}" },
		"open brace":         func(t *Template) { t.Text = "{body" },
		"close brace":        func(t *Template) { t.Text = "body}" },
		"open group":         func(t *Template) { t.Text = "[[{body}" },
		"close group":        func(t *Template) { t.Text = "{body}]]" },
		"nested":             func(t *Template) { t.Text = "[[a[[{body}]]]]" },
		"time not carried":   func(t *Template) { t.Text = "{timestamp}" },
		"no signature":       func(t *Template) { t.Fields = nil },
		"body in a field":    func(t *Template) { t.Fields = []FieldTemplate{{"S", "{body}", ""}} },
		"two in one element": func(t *Template) { t.Fields = []FieldTemplate{{"S", "{timestamp}{signature}", ""}} },
		"two signatures":     func(t *Template) { t.Fields = append(t.Fields, t.Fields[0]) },
		"no variable":        func(t *Template) { t.Fields = []FieldTemplate{{"S", "k=1,s={signature}", ","}} },
		"field name":         func(t *Template) { t.Fields[0].Name = "" },
	} {
		bad := good
		bad.Fields = slices.Clone(good.Fields)
		edit(&bad)
		if _, err := bad.Compile(); !errors.Is(err, ErrTemplate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var zero TemplateScheme
	if _, err := zero.Sign(key, &Message{}); !errors.Is(err, ErrUnknownPreset) {
		t.Errorf("zero scheme signs: %v", err)
	}
	if _, err := zero.Verify(key, &Message{}); err == nil {
		t.Error("zero scheme verifies")
	}
	if _, err := TemplatePreset("nothing"); !errors.Is(err, ErrUnknownPreset) {
		t.Errorf("%v", err)
	}
	if _, err := preset(t, "standard-webhooks").Sign([]byte("whsec_AAAA"), &Message{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("no id: %v", err)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("{method}\n[[x:{nonce}\n]]{body:sha256:hex}", "t={timestamp},v1={signature}", ",", "t=1,v1=00")
	f.Add("{timestamp}.{body}", "{signature}", "", "x")
	f.Fuzz(func(t *testing.T, text, value, separator, received string) {
		s, err := Template{Name: "f", Text: text, Algorithm: "sha256", Encoding: "hex", Fields: []FieldTemplate{{"S", value, separator}}}.Compile()
		if err != nil {
			return
		}
		in := Message{Method: "GET", Target: "/", Body: strings.NewReader("b"), Fields: []Header{{"S", received}}}
		if _, err := s.Verify(key, &in); err == nil {
			t.Fatalf("%q verifies", received)
		}
	})
}

func BenchmarkTemplateSign(b *testing.B) {
	for _, name := range []string{"knoxcall", "stripe"} {
		b.Run(name, func(b *testing.B) {
			s := preset(b, name)
			m := Message{Method: "POST", Target: "/", Time: time.Unix(1700000000, 0), Nonce: "n", Body: strings.NewReader("{}")}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(key, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestUnsignedTimeProvesNothing: a time or a nonce that travels and is not signed is
// anybody's, so it is not what a signature says.
func TestUnsignedTimeProvesNothing(t *testing.T) {
	s, err := Template{
		Name: "t", Text: "{body}", Algorithm: "sha256", Encoding: "hex",
		Fields: []FieldTemplate{{"X-Time", "{timestamp}", ""}, {"X-Nonce", "{nonce}", ""}, {"X-Sig", "{signature}", ""}},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Body: strings.NewReader("b"), Time: time.Unix(1000, 0), Nonce: "n"}
	if m.Fields, err = s.Sign([]byte("key"), &m); err != nil || len(m.Fields) != 3 {
		t.Fatal(m.Fields, err)
	}
	m.Fields[0].Value, m.Fields[1].Value = "2000", "other"
	got, err := s.Verify([]byte("key"), &m)
	if err != nil || !got.Time.IsZero() || got.Nonce != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestNonceWithItsSeparator: who can write a part of a body must not be able to have
// it read as the time and the body of another message.
func TestNonceWithItsSeparator(t *testing.T) {
	s, err := TemplatePreset("standard-webhooks")
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("whsec_c2VjcmV0")
	m := Message{Body: strings.NewReader("comment=hello.1614269000.paid=1"), Time: time.Unix(1614265330, 0), Nonce: "msg_1"}
	if m.Fields, err = s.Sign(key, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(key, &m); err != nil {
		t.Fatal(err)
	}
	m.Fields[0].Value, m.Fields[1].Value, m.Body = "msg_1.1614265330.comment=hello", "1614269000", strings.NewReader("paid=1")
	if got, err := s.Verify(key, &m); !errors.Is(err, ErrMalformed) {
		t.Errorf("%+v, %v", got, err)
	}
}
