package inject

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStripQuery(t *testing.T) {
	for target, want := range map[string]string{
		"/x":                         "/x",
		"/x?":                        "/x?",
		"/x?key":                     "/x?",
		"/x?key=":                    "/x?",
		"/x?key=1":                   "/x?",
		"/x?key=1&key=2":             "/x?",
		"/x?a=1&key=2":               "/x?a=1",
		"/x?key=2&a=1":               "/x?a=1",
		"/x?a=1&key=2&b=3":           "/x?a=1&b=3",
		"/x?a=1;key=2;b=3":           "/x?a=1;b=3",
		"/x?a=1;key=2&b=3":           "/x?a=1&b=3",
		"/x?%6bey=1&k%65y=2&ke%79=3": "/x?",
		"/x?%6Bey=1&a=%6bey":         "/x?a=%6bey",
		"/x?%6b%65%79=1":             "/x?",
		"/x?Key=1&keys=2&ke=3&%=4":   "/x?Key=1&keys=2&ke=3&%=4",
		"/x?a=key=1&&b":              "/x?a=key=1&&b",
		"/x?&key=1&":                 "/x?&",
		"/x?a?key=1&b":               "/x?a?key=1&b",
		"/x?%256bey=1":               "/x?%256bey=1",
		"/x?ke%7":                    "/x?ke%7",
		"/key=1?a":                   "/key=1?a",
		"/x?a=%2F%2f+%20&key=1&b=é":  "/x?a=%2F%2f+%20&b=é",
	} {
		if got := string(stripQuery(nil, target, []string{"key"})); got != want {
			t.Errorf("%s\n got %s\nwant %s", target, got, want)
		}
	}
	for target, want := range map[string]string{
		"/?a+b=1&a%20b=2&a%2Bb=3": "/?a%2Bb=3", "/?a%20b": "/?", "/?ab=1": "/?ab=1",
	} {
		if got := string(stripQuery(nil, target, []string{"a b"})); got != want {
			t.Errorf("%s\n got %s\nwant %s", target, got, want)
		}
	}
}

// TestQueryAgainstNetURL: an independent reader finds our value once and every
// other parameter as it was.
func TestQueryAgainstNetURL(t *testing.T) {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"key=evil", "%6bey=evil", "k%65%79=evil", "a=1", "b", "", "keys=1", "a=%2F", "KEY=2", "c=x+y"}),
		rapid.StringMatching(`[a-z%0-9+=]{0,8}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces")
		secret := rapid.String().Filter(func(s string) bool { return s != "" && value(s).FieldSafe() == nil }).Draw(t, "secret")
		query0 := strings.Join(pieces, "&")
		h := request("/p?" + query0)
		apply(t, plan(t, query("key", secret)), h)
		got, _ := url.ParseQuery(strings.TrimPrefix(h.target, "/p?")) // pieces that it can't read it leaves out
		want, _ := url.ParseQuery(query0)
		want["key"] = []string{secret}
		if got.Encode() != want.Encode() {
			t.Fatalf("%s\n got %v\nwant %v", h.target, got, want)
		}
	})
}

// FuzzStripQuery: what is left is a subsequence, names no parameter of ours, and
// stripping it again changes nothing.
func FuzzStripQuery(f *testing.F) {
	names := []string{"key"}
	f.Fuzz(func(t *testing.T, target string) {
		once := string(stripQuery(nil, target, names))
		if again := string(stripQuery(nil, once, names)); again != once {
			t.Fatalf("%q, then %q, then %q", target, once, again)
		}
		_, query, _ := strings.Cut(once, "?")
		for _, p := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, _, _ := strings.Cut(p, "=")
			if n, err := url.QueryUnescape(name); err == nil && n == "key" {
				t.Fatalf("%q is left in %q", p, once)
			}
		}
		rest := target
		for i := range len(once) {
			at := strings.IndexByte(rest, once[i])
			if at < 0 {
				t.Fatalf("%q is no part of %q", once, target)
			}
			rest = rest[at+1:]
		}
	})
}
