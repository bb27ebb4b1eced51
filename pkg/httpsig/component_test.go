package httpsig

import (
	"errors"
	"strings"
	"testing"
)

// TestComponentValues: values as RFC 9421 section 2 has them.
func TestComponentValues(t *testing.T) {
	request := message()
	response := Message{Status: 503, Fields: []Field{{"Content-Length", "62"}}, Request: &request}
	absolute := Message{Method: "GET", Scheme: "HTTP", Authority: "h:80", Target: "http://h:80?x"}
	options := Message{Method: "OPTIONS", Scheme: "http", Authority: "[2001:DB8::1]:8080", Target: "*"}
	for _, tt := range []struct {
		m    *Message
		c    string
		want string
	}{
		{&request, "@method", "POST"},
		{&request, "@authority", "example.com"},
		{&request, "@scheme", "https"},
		{&request, "@target-uri", "https://example.com/path?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, "@request-target", "/path?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, "@path", "/path"},
		{&request, "@query", "?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, `"@query-param";name="a"`, "1"},
		{&request, `"@query-param";name="b"`, "with%20plus"},
		{&request, `"@query-param";name="c"`, "%C3%A9%22"},
		{&request, `"@query-param";name="d"`, ""},
		{&request, "x-two", "one, two"},
		{&request, "x-empty", ""},
		{&request, "x-fold", "one two"},
		{&request, `"x-bytes";bs`, ":Y2Fm6Q==:, :YSwgYg==:"},
		{&request, `"x-two";bs`, ":b25l:, :dHdv:"},
		{&request, `"priority";sf`, "u=1, i"},
		{&request, `"example-dict";key="a"`, "1"},
		{&request, `"example-dict";key="b"`, "2;x=1;y=2"},
		{&request, `"example-dict";key="c"`, "(a b c)"},
		{&request, `"example-dict";key="d"`, "?1"},
		{&request, `"expires-at";tr`, "soon"},
		{&response, "@status", "503"},
		{&response, "content-length", "62"},
		{&response, `"@method";req`, "POST"},
		{&response, `"x-two";req`, "one, two"},
		{&response, `"@query-param";req;name="a"`, "1"},
		{&absolute, "@authority", "h"},
		{&absolute, "@target-uri", "http://h/?x"},
		{&absolute, "@path", "/"},
		{&absolute, "@query", "?x"},
		{&absolute, "@request-target", "http://h:80?x"},
		{&options, "@authority", "[2001:db8::1]:8080"},
		{&options, "@target-uri", "http://[2001:db8::1]:8080"},
		{&options, "@query", "?"},
	} {
		c, err := ParseComponent(tt.c)
		if err != nil {
			t.Errorf("%s: %v", tt.c, err)
			continue
		}
		if got, err := c.value(tt.m); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.c, got, err, tt.want)
		}
	}
}

func TestComponentRefused(t *testing.T) {
	for _, bad := range []string{
		"", "Content-Type", `"a b"`, "@signature-params", `"x";unknown`, `"x";sf=?0`, `"x";sf="a"`, `"x";bs;sf`, `"x";bs;key="a"`,
		`"@method";sf`, `"@method";tr`, `"@query-param"`, `"@method";name="a"`, `"x";name="a"`, `"x";key=1`, `x y`, "a\nb", "@unknown", "@", "@Method",
	} {
		if c, err := ParseComponent(bad); !errors.Is(err, ErrComponent) {
			t.Errorf("%q: %+v, %v", bad, c, err)
		}
	}
	m := message()
	m.Target += "&a=2&e=%ff"
	for _, bad := range []string{
		"missing", "@status", "x-bytes", `"x-two";sf`, `"example-dict";sf`, `"x-two";key="a"`, `"example-dict";key="z"`,
		`"expires-at"`, `"x-two";tr`, `"@method";req`, `"@query-param";name="a"`, `"@query-param";name="zz"`, `"@query-param";name="e"`,
	} {
		c, err := ParseComponent(bad)
		if err != nil {
			t.Errorf("%q: %v", bad, err)
			continue
		}
		if v, err := c.value(&m); !errors.Is(err, ErrComponent) {
			t.Errorf("%q: %q, %v", bad, v, err)
		}
	}
	response := Message{Status: 200}
	for _, bad := range []string{"@method", "@path", "@query", "@authority", `"@query-param";name="a"`} {
		c := parts(t, bad)[0]
		if v, err := c.value(&response); !errors.Is(err, ErrComponent) {
			t.Errorf("%s of a response: %q, %v", bad, v, err)
		}
	}
}

// TestOfRequests: what can never be signed is known before there is a request.
func TestOfRequests(t *testing.T) {
	for text, want := range map[string]bool{
		"@method": true, "x-a": true, `"x-a";bs`: true, `"priority";sf`: true, `"x-a";key="b"`: true, `"x-a";key="b";sf`: true,
		"@status": false, `"@method";req`: false, `"x-a";tr`: false, `"x-a";sf`: false,
	} {
		if err := parts(t, text)[0].CheckRequest(); (err == nil) != want || err != nil && !errors.Is(err, ErrComponent) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestKnownType: sf on a field that the caller knows.
func TestKnownType(t *testing.T) {
	m := message()
	request := message()
	response := Message{Status: 200, Request: &request, Types: map[string]FieldType{"example-dict": Dictionary}}
	m.Types = response.Types
	for text, m := range map[string]*Message{`"example-dict";sf`: &m, `"example-dict";sf;req`: &response} {
		c := parts(t, text)[0]
		if v, err := c.value(m); err != nil || v != "a=1, b=2;x=1;y=2, c=(a b c), d" {
			t.Errorf("%s: %q, %v", text, v, err)
		}
	}
}

func TestDuplicates(t *testing.T) {
	m := message()
	for _, list := range [][]string{{"@method", "@method"}, {`"x-two";bs;tr`, `"x-two";tr;bs`}} {
		s := &Signer{Label: "a", Key: shared(t), Components: parts(t, list...)}
		if _, err := s.Sign(&m, Params{}); !errors.Is(err, ErrComponent) {
			t.Errorf("%v: %v", list, err)
		}
		m.Fields = append(m.Fields, Field{"Signature-Input", "b=(" + strings.Join([]string{`"@method"`, `"@method"`}, " ") + ")"},
			Field{"Signature", "b=:AA==:"})
		if _, err := Verify(&m, "b", func(Params) (*Key, error) { return shared(t), nil }, Policy{}, created); !errors.Is(err, ErrComponent) {
			t.Errorf("verify: %v", err)
		}
		m = message()
	}
}
