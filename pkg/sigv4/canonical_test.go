package sigv4

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestCanonicalPath: what each family signs for a path as it arrives.
func TestCanonicalPath(t *testing.T) {
	for _, tt := range []struct{ path, s3, other, raw string }{
		{"/", "/", "/", "/"},
		{"/a//b/../c/", "/a//b/../c/", "/a/c/", "/a//b/../c/"},
		{"/a%20b", "/a%20b", "/a%2520b", "/a%2520b"},
		{"/a b", "/a%20b", "/a%20b", "/a%20b"},
		{"/%7ea%c3%a9", "/~a%C3%A9", "/%257ea%25c3%25a9", "/%257ea%25c3%25a9"},
		{"/a+b@c(d)", "/a%2Bb%40c%28d%29", "/a%2Bb%40c%28d%29", "/a%2Bb%40c%28d%29"},
		{"/100%/%zz", "/100%25/%25zz", "/100%25/%25zz", "/100%25/%25zz"},
		{"/../..", "/../..", "/", "/../.."},
		{"/./", "/./", "/", "/./"},
		{"/./x", "/./x", "/x", "/./x"},
		{"//x//", "//x//", "/x/", "//x//"},
	} {
		for rule, want := range map[PathRule]string{S3Path: tt.s3, NormalizedPath: tt.other, RawPath: tt.raw} {
			if got := string(canonicalPath(nil, tt.path, rule)); got != want {
				t.Errorf("%q by rule %d: %q, want %q", tt.path, rule, got, want)
			}
		}
	}
	for service, want := range map[string]PathRule{"s3": S3Path, "s3express": S3Path, "s3-outposts": S3Path, "s3-object-lambda": S3Path,
		"execute-api": NormalizedPath, "s3tables": NormalizedPath, "": NormalizedPath} {
		if got := ByService.of(service); got != want {
			t.Errorf("%s: rule %d, want %d", service, got, want)
		}
	}
}

func TestCanonicalQuery(t *testing.T) {
	for query, want := range map[string]string{
		"":                          "",
		"acl":                       "acl=",
		"b=2&a=1&a=0&A=3":           "A=3&a=0&a=1&b=2",
		"Param-3=1&Param=2&%e1=3":   "%E1=3&Param=2&Param-3=1",
		"q=a+b&r=a%20b&s=a%2Bb":     "q=a%20b&r=a%20b&s=a%2Bb",
		"&&x=1&":                    "x=1",
		"k=a=b&z":                   "k=a%3Db&z=",
		"%=1&%4=2&%zz=3":            "%25=1&%254=2&%25zz=3",
		"p=a/b&t=%7e~":              "p=a%2Fb&t=~~",
		"=v":                        "=v",
		"X-Amz-Signature=x&y=1":     "y=1",
		"X%2DAmz%2dSignature=x&y=1": "y=1",
	} {
		if got := string(canonicalQuery(nil, query, nil, "X-Amz-Signature")); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// TestQueryAgainstNetURL: for names and values of any bytes the canonical query
// says what net/url reads in it.
func TestQueryAgainstNetURL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := url.Values{}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			values.Add(rapid.String().Draw(t, "name"), rapid.String().Draw(t, "value"))
		}
		canonical := string(canonicalQuery(nil, values.Encode(), nil, ""))
		back, err := url.ParseQuery(canonical)
		if err != nil || len(back) != len(values) || strings.Contains(canonical, "+") {
			t.Fatalf("%q: %v", canonical, err)
		}
		if again := string(canonicalQuery(nil, canonical, nil, "")); again != canonical {
			t.Fatalf("%q again is %q", canonical, again)
		}
	})
}
