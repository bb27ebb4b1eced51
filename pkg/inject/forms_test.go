package inject

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/secret"
)

func TestMoreForms(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Credential
		in   *head
		want string
	}{
		{"cookie", Credential{Form: Cookie, Field: "sid", Value: value("s3")}, request("/x", "A: b"), "POST /x\nA: b\nCookie: sid=s3"},
		{"cookie beside others", Credential{Form: Cookie, Field: "sid", Value: value("s3")},
			request("/x", "Cookie: a=1; sid=evil;b=2 ", "A: b", "cookie: SID=mine; sid = evil;;\"sid\"=evil; sid"),
			"POST /x\nA: b\nCookie: sid=s3; a=1; b=2; SID=mine"},
		{"path", Credential{Form: Path, Segment: 2, Value: value("a/b ?")}, request("/v1/KEY/x?y=KEY"), "POST /v1/a%2Fb%20%3F/x?y=KEY"},
		{"path with prefix", Credential{Form: Path, Segment: 1, Prefix: "bot", Value: value("1:a")}, request("/bot/send"), "POST /bot1%3Aa/send"},
		{"template", Credential{Form: Header, Field: "X-Auth", Parts: []Part{{Text: "Token "}, {Name: "a", Value: value("A")}, {Text: ":"}, {Name: "b", Value: value("B")}}},
			request("/x", "x_auth: evil"), "POST /x\nX-Auth: Token A:B"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan(t, tt.c)
			done := apply(t, p, tt.in)
			if tt.in.String() != tt.want {
				t.Errorf("sent\n%s\nwant\n%s", tt.in, tt.want)
			}
			if len(done.Credentials) == 0 || done.Credentials[0].Form != tt.c.Form.String() {
				t.Errorf("applied %+v", done)
			}
		})
	}
}

// edited applies a plan to content and returns what leaves.
func edited(t test, p *Plan, contentType, content string) (*head, error) {
	t.Helper()
	h := request("/x", "Content-Type: "+contentType, "Content-MD5: old", "Digest: old")
	_, _, err := p.Apply(permit(p, h), h, Content{Bytes: []byte(content), Limit: 1 << 16}, now)
	return h, err
}

func TestJSONPointer(t *testing.T) {
	for _, tt := range []struct{ pointer, in, want string }{
		{"/token", `{"token":"x"}`, `{"token":"s\"e\\c"}`},
		{"/token", `{ "a" : 1.000 , "token" : {"b":["}"]} , "c":[ ] }`, `{ "a" : 1.000 , "token" : "s\"e\\c" , "c":[ ] }`},
		{"/token", `{}`, `{"token":"s\"e\\c"}`},
		{"/token", `{"a":1 }`, `{"a":1 ,"token":"s\"e\\c"}`},
		{"/a/token", `[{"token":1}]`, ``},
		{"/a/token", `{"a":{},"token":2}`, `{"a":{"token":"s\"e\\c"},"token":2}`},
		{"/a/token", `{"b":{}}`, ``},
		{"/a/1", `{"a":[1,{"x":[2]},3]}`, `{"a":[1,"s\"e\\c",3]}`},
		{"/a/01", `{"a":[1,2]}`, ``},
		{"/a/2", `{"a":[1,2]}`, ``},
		{"/a/-", `{"a":[1,2]}`, `{"a":[1,2,"s\"e\\c"]}`},
		{"/a/-", `{"a":[]}`, `{"a":["s\"e\\c"]}`},
		{"/a~1b/~0", `{"a\/b":{"~":1}}`, `{"a\/b":{"~":"s\"e\\c"}}`},
		{"/t\u00f6", `{"t\u00f6":1}`, `{"t\u00f6":"s\"e\\c"}`},
		{"/", `{"":1}`, `{"":"s\"e\\c"}`},
		{"/token", `{"token":1,"token":2}`, ``},
		{"/token", `{"token":1`, ``},
		{"/token", `"x"`, ``},
		{"/token", ``, ``},
	} {
		h, err := edited(t, plan(t, Credential{Form: JSON, Field: tt.pointer, Value: value(`s"e\c`)}), "application/json; charset=utf-8", tt.in)
		switch {
		case tt.want == "":
			if !errors.Is(err, flow.ReasonBodyUnsuitable) && !errors.Is(err, flow.ReasonBadRequest) || h.content != nil {
				t.Errorf("%s in %s: %q, %v", tt.pointer, tt.in, h.content, err)
			}
		case err != nil || string(h.content) != tt.want:
			t.Errorf("%s in %s: %q, %v; want %s", tt.pointer, tt.in, h.content, err, tt.want)
		case strings.Contains(h.String(), "old"):
			t.Errorf("a digest of other content leaves:\n%s", h)
		}
	}
}

// TestJSONAgainstTheDecoder: over random documents, the pointer's value is the
// credential afterwards and everything else is what it was.
func TestJSONAgainstTheDecoder(t *testing.T) {
	p := plan(t, Credential{Form: JSON, Field: "/k/k", Value: value("the <secret> \u2028 \\")})
	var doc func(depth int) *rapid.Generator[any]
	doc = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Map(rapid.String(), asAny), rapid.Map(rapid.Float64Range(-9, 9), asAny), rapid.Map(rapid.Bool(), asAny), rapid.Just[any](nil))
		if depth == 0 {
			return leaf
		}
		key := rapid.OneOf(rapid.Just("k"), rapid.String())
		return rapid.OneOf(leaf, rapid.Map(rapid.MapOfN(key, doc(depth-1), 0, 4), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(doc(depth-1), 0, 3), func(s []any) any { return s }))
	}
	written := 0
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.MapOfN(rapid.OneOf(rapid.Just("k"), rapid.String()), doc(2), 0, 4).Draw(t, "k")
		outer := rapid.MapOfN(rapid.String(), doc(2), 0, 4).Draw(t, "outer")
		outer["k"] = k
		in, err := json.MarshalIndent(outer, "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := edited(t, p, "application/vnd.x+json", string(in))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(h.content, &got); err != nil {
			t.Fatalf("%s: %v", h.content, err)
		}
		k["k"] = "the <secret> \u2028 \\"
		want, _ := json.Marshal(outer)
		again, _ := json.Marshal(got)
		if !bytes.Equal(want, again) {
			t.Fatalf("%s became %s", in, h.content)
		}
		written++
	})
	if written == 0 {
		t.Error("nothing was written")
	}
}

func asAny[T any](v T) any { return v }

func TestFormFields(t *testing.T) {
	p := plan(t, Credential{Form: FormField, Field: "api key", Value: value("a&b=é")})
	for in, want := range map[string]string{
		"":          "api%20key=a%26b%3D%C3%A9",
		"x=1&y=%2f": "x=1&y=%2f&api%20key=a%26b%3D%C3%A9",
		"api+key=evil&x=1&api%20key=evil&%61pi key": "x=1&api%20key=a%26b%3D%C3%A9",
	} {
		h, err := edited(t, p, "application/x-www-form-urlencoded", in)
		if err != nil || string(h.content) != want {
			t.Errorf("%q: %q, %v; want %q", in, h.content, err, want)
		}
		if v, err := url.ParseQuery(string(h.content)); err != nil || !slices.Equal(v["api key"], []string{"a&b=é"}) {
			t.Errorf("%q reads as %v, %v", h.content, v, err)
		}
	}
}

// parts reads a multipart form as a server does.
func parts(t test, content []byte, boundary string) (out []string) {
	t.Helper()
	r := multipart.NewReader(bytes.NewReader(content), boundary)
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		all, _ := io.ReadAll(part)
		out = append(out, part.FormName()+"|"+part.FileName()+"|"+string(all))
	}
}

func TestMultipart(t *testing.T) {
	const file = "--b\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n --b\x00\r\n-b\r\n\r\n"
	text := func(name, v string) string {
		return "--b\r\ncontent-disposition: form-data; name=\"" + name + "\"\r\n\r\n" + v + "\r\n"
	}
	p := plan(t, Credential{Form: FormField, Field: "token", Value: value("s3")})
	for name, tt := range map[string]struct {
		in   string
		want []string
	}{
		"absent":   {text("a", "1") + file + "--b--\r\n", []string{"token||s3", "a||1", "doc|a.bin| --b\x00\r\n-b\r\n"}},
		"present":  {text("a", "1") + text("token", "evil") + file + text("token", "evil") + "--b--", []string{"a||1", "token||s3", "doc|a.bin| --b\x00\r\n-b\r\n"}},
		"preamble": {"hello\r\n" + text("a", "1") + "--b--\r\nbye", []string{"token||s3", "a||1"}},
		"empty":    {"--b--", []string{"token||s3"}},
	} {
		h, err := edited(t, p, `multipart/form-data; boundary="b"`, tt.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := parts(t, h.content, "b"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	for name, in := range map[string]string{
		"two readings": text("a", "1\r\n--b x") + "--b--", "no end": text("a", "1"), "nothing": "", "no name": "--b\r\nX: y\r\n\r\nz\r\n--b--", "no head": "--b\r\nz\r\n--b--",
		"a file": "--b\r\nContent-Disposition: form-data; name=token; filename=x\r\n\r\nz\r\n--b--",
		"twice":  "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=token\r\n\r\nz\r\n--b--",
	} {
		if h, err := edited(t, p, "multipart/form-data; boundary=b", in); !errors.Is(err, flow.ReasonBodyUnsuitable) || h.content != nil {
			t.Errorf("%s: %q, %v", name, h.content, err)
		}
	}
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

// TestCodingsAndCaps: gzip is taken off and put on again, others are refused, and
// nothing over the cap is cut.
func TestCodingsAndCaps(t *testing.T) {
	p := plan(t, Credential{Form: JSON, Field: "/t", Value: value("secret")})
	for name, tt := range map[string]struct {
		coding, content, want string
		reason                flow.Reason
	}{
		"identity":   {"identity", `{}`, `{"t":"secret"}`, 0},
		"gzip":       {"GZIP", gzipped(`{}`), `{"t":"secret"}`, 0},
		"br":         {"br", `{}`, "", flow.ReasonBodyUnsuitable},
		"twice":      {"gzip, gzip", gzipped(`{}`), "", flow.ReasonBodyUnsuitable},
		"no gzip":    {"gzip", `{}`, "", flow.ReasonBodyUnsuitable},
		"half":       {"gzip", gzipped(strings.Repeat(" ", 900) + `{}`)[:25], "", flow.ReasonBodyUnsuitable},
		"bomb":       {"gzip", gzipped(strings.Repeat(" ", 5000) + `{}`), "", flow.ReasonBodyTooLarge},
		"at the cap": {"identity", `{"a":"` + strings.Repeat("x", 975) + `"}`, `{"a":"` + strings.Repeat("x", 975) + `","t":"secret"}`, 0},
		"over it":    {"identity", `{"a":"` + strings.Repeat("x", 990) + `"}`, "", flow.ReasonBodyTooLarge},
	} {
		h := request("/x", "Content-Type: application/json", "Content-Encoding: "+tt.coding)
		_, _, err := p.Apply(permit(p, h), h, Content{Bytes: []byte(tt.content), Limit: 1000}, now)
		if tt.want == "" {
			if !errors.Is(err, tt.reason) || h.content != nil {
				t.Errorf("%s: %v, want %v", name, err, tt.reason)
			}
			continue
		}
		got := string(h.content)
		if strings.EqualFold(tt.coding, "gzip") && err == nil {
			z, err := gzip.NewReader(strings.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			all, _ := io.ReadAll(z)
			got = string(all)
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := edited(t, p, "text/plain", `{}`); !errors.Is(err, flow.ReasonBodyUnsuitable) {
		t.Errorf("text: %v", err)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name        string
		credentials []Credential
		want        error
	}{
		{"cookie with a semicolon", []Credential{{Form: Cookie, Field: "a", Value: value("x;b=1")}}, ErrValue},
		{"cookie without a name", []Credential{{Form: Cookie, Value: value("x")}}, ErrField},
		{"cookie name with a space", []Credential{{Form: Cookie, Field: "a b", Value: value("x")}}, ErrField},
		{"one cookie twice", []Credential{{Form: Cookie, Field: "a", Value: value("x")}, {Form: Cookie, Field: "a", Value: value("y")}}, ErrSlotTaken},
		{"cookie and its header", []Credential{{Form: Cookie, Field: "a", Value: value("x")}, header("Cookie", "a=b")}, ErrSlotTaken},
		{"no segment", []Credential{{Form: Path, Value: value("x")}}, ErrField},
		{"dot segment", []Credential{{Form: Path, Segment: 1, Value: value("..")}}, ErrValue},
		{"dot segment by prefix", []Credential{{Form: Path, Segment: 1, Prefix: ".", Value: value(".")}}, ErrValue},
		{"slash in prefix", []Credential{{Form: Path, Segment: 1, Prefix: "a/", Value: value("x")}}, ErrValue},
		{"one segment twice", []Credential{{Form: Path, Segment: 1, Value: value("x")}, {Form: Path, Segment: 1, Value: value("y")}}, ErrSlotTaken},
		{"whole document", []Credential{{Form: JSON, Field: "", Value: value("x")}}, ErrField},
		{"no pointer", []Credential{{Form: JSON, Field: "a", Value: value("x")}}, ErrField},
		{"bad tilde", []Credential{{Form: JSON, Field: "/a~2", Value: value("x")}}, ErrField},
		{"not UTF-8", []Credential{{Form: JSON, Field: "/a", Value: value("\xff")}}, ErrValue},
		{"one inside the other", []Credential{{Form: JSON, Field: "/a", Value: value("x")}, {Form: JSON, Field: "/a/b", Value: value("y")}}, ErrSlotTaken},
		{"form field twice", []Credential{{Form: FormField, Field: "a", Value: value("x")}, {Form: FormField, Field: "a", Value: value("y")}}, ErrSlotTaken},
		{"short placeholder", []Credential{placeholder("a", "short", "x", InHeader)}, ErrPlaceholder},
		{"odd placeholder", []Credential{placeholder("a", bait1+" ", "x", InHeader)}, ErrPlaceholder},
		{"placeholder nowhere", []Credential{placeholder("a", bait1, "x", 0)}, ErrField},
		{"placeholder is the secret", []Credential{placeholder("a", bait1, bait1, InHeader)}, ErrValue},
		{"placeholder twice", []Credential{placeholder("a", bait1, "x", InHeader), placeholder("b", bait1, "y", InHeader)}, ErrSlotTaken},
		{"control byte", []Credential{placeholder("a", bait1, "x\r\ny", InBody)}, secret.ErrControlByte},
		{"empty part", []Credential{{Form: Header, Field: "X", Parts: []Part{{}}}}, ErrEmpty},
		{"control byte in a part", []Credential{{Form: Header, Field: "X", Parts: []Part{{Text: "a"}, {Value: value("\n")}}}}, secret.ErrControlByte},
		{"control byte in a template", []Credential{{Form: Header, Field: "X", Parts: []Part{{Text: "a\n"}, {Value: value("b")}}}}, ErrValue},
	} {
		if p, err := NewPlan(tt.credentials); !errors.Is(err, tt.want) || p != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, f := range []Form{Cookie, Path, JSON, FormField} {
		for _, c := range []string{"\r", "\n", "\x00", "\x7f"} {
			if _, err := NewPlan([]Credential{{Form: f, Field: "/a", Segment: 1, Value: value("a" + c + "b")}}); !errors.Is(err, secret.ErrControlByte) {
				t.Errorf("%v %q: %v", f, c, err)
			}
		}
	}
}

func TestPathWithoutTheSegment(t *testing.T) {
	p := plan(t, Credential{Form: Path, Segment: 3, Value: value("x")})
	for _, target := range []string{"/a/b", "/a/b/", "/a/b?c/d", "*", "/", "/a//b", "//a/b", "/a/b//c"} {
		h := request(target)
		if _, _, err := p.Apply(permit(p, h), h, Content{}, now); !errors.Is(err, flow.ReasonBadRequest) || h.target != target {
			t.Errorf("%s: %s, %v", target, h.target, err)
		}
	}
}

// TestCharsets: what is text in ASCII may be another in a charset that has quotes
// and backslashes of its own, and the credential would stand in another member of it.
func TestCharsets(t *testing.T) {
	p := plan(t, Credential{Form: JSON, Field: "/t", Value: value("secret")})
	for charset, want := range map[string]bool{
		"utf-8": true, "UTF-8": true, `"utf8"`: true, "us-ascii": true, "iso-8859-1": true,
		"shift_jis": false, "utf-7": false, "utf-16": false, "gb18030": false, "unknown": false,
	} {
		h, err := edited(t, p, "application/json; charset="+charset, `{"comment":"+ACI-,+ACI-a+ACI-:+ACI-"}`)
		if want != (err == nil) || !want && !errors.Is(err, flow.ReasonBodyUnsuitable) {
			t.Errorf("%s: %q, %v", charset, h.content, err)
		}
	}
	if h, err := edited(t, p, "application/json", "{\"comment\":\"\x95\\\", \"}"); !errors.Is(err, flow.ReasonBodyUnsuitable) {
		t.Errorf("no UTF-8: %q, %v", h.content, err) // in Shift_JIS the quote ends the string
	}
}
