package match_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/match"
)

func TestAmbiguousPath(t *testing.T) {
	ambiguous := []string{
		"a", "a/b", "http://a.example/x", "?", "#", " ", "%2f",
		"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b",
		"/%2e", "/%2E%2e/a", "/a/.%2e", "/a/%2e./b", "/..;/a", "/a/..;x=1/b", "/.;", "/..%3b/a", "/a/%2e%2E%3Bx",
		"/;x/a", "/a/;/b", "/a/%3b/b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", `/a\b`, `/..\a`,
		"/a%00", "/a%0a", "/a%0D%0aX", "/a%1f", "/a%7f",
		"/a%", "/a%2", "/a%zz", "/a%u002f", "/a%-1",
		"/%252e%252e/a", "/a%252fb", "/a%255Cb", "/a%2500", "/a%25252fb",
		"/a%c0%af", "/%C0%AE%c0%ae", "/a%c1%9c", "/a%e0%80%af", "/a%f0%80%80%af",
		"/a b", "/a\tb", "/a\x00", "/a\x7f", "/a\r\n", "/a#b", "/a?b", "/caf\xc3\xa9",
	}
	for _, s := range ambiguous {
		if !match.AmbiguousPath(s) {
			t.Errorf("%q is not ambiguous", s)
		}
	}
	plain := []string{
		"", "*", "/", "/a", "/a/", "/a/b.c", "/...", "/a/...", "/.well-known/x", "/a..b", "/a.", "/.a",
		"/caf%C3%A9%20noir", "/api/v1;rev=2/a,b:c@d!$&'()*+=", "/a%3Ab", "/%7Euser", "/100%25", "/50%25ab", "/a%41",
		"/a%2ejson", "/%E0", "/%C0", "/%E0%A4%85", "/%F0%9F%98%80", "/x%3fy%23z", "/a;", "/;a", "/[{|}]",
		"/a//b", "/a//", "/a///b;x//%41", "//", "//a", "///", "//a//b", "///a@b:1/",
	}
	for _, s := range plain {
		if match.AmbiguousPath(s) {
			t.Errorf("%q is ambiguous", s)
		}
	}
}

func TestPath(t *testing.T) {
	tests := []struct {
		pattern, path string
		match, clear  bool
	}{
		{"/api/v1/**", "/api/v1/x/y", true, true},
		{"/api/v1/**", "/api/v1", true, true},
		{"/api/v1/**", "/api/v1/", true, true},
		{"/api/v1/**", "/api/v10", false, true},
		{"/v1/*/items", "/v1/7/items", true, true},
		{"/v1/*/items", "/v1/7/8/items", false, true},
		{"/", "", true, true},
		{"/**", "*", false, true},
		{"/**", "/a;x=1/b", true, true},
		{"/admin/**", "/admin;x/users", false, false},
		{"/admin/**", "/admin%3bx/users", false, false},
		{"/admin/**", "/user;x=/admin", false, true},
		{"/admin/**", "/%61dmin/users", false, false},
		{"/admin/**", "/%61dmin;x/users", false, false},
		{"/admin/**", "/%75ser/users", false, true},
		{"/v1/x:delete", "/v1/x%3Adelete", false, false},
		{"/v1/x:delete", "/v1/x%3adelete", false, false},
		{"/v1/x:delete", "/v1/y%3adelete", false, true},
		{"/v1/a%3Ab", "/v1/a:b", false, false},
		{"/v1/a%3Ab", "/v1/a%3ab", false, false},
		{"/v1/a%3Ab", "/v1/a%3Ab", true, true},
		{"/v1;rev=2/**", "/v1;rev=2/a", true, true},
		{"/v1/%2A", "/v1/x", false, true},
		{"/a/**", "/a/../b", true, false},
		{"/api/v1/**", "/api/v1//x", true, true},
		{"/api/v1/**", "/api/v1/x///y//", true, true},
		{"/api/v1/**", "/api//v1/x", false, false},
		{"/admin/**", "/user//admin", false, true},
		{"/**/admin", "/user//admin", true, true},
		{"/v1/*/items", "/v1//items", true, false},
		{"/v1/*/items", "/v1//7/items", false, false},
		{"/v1/*", "/v1//", false, false},
		{"/admin/**", "/admin;x//users", false, false},
		{"/*/admin", "/x;y//%61dmin", false, false},
		{"/**", "/v1/x;y//%61dmin", true, true},
		{"/**", "//v1/x", true, true},
		{"/**", "//", true, true},
		{"/v1/**", "//v1/x", false, false},
		{"/admin/**", "//v1/x", false, true},
		{"/admin/**", "//evil.example/admin/x", false, false},
		{"/admin/**", "///evil.example:1/%61dmin;x/x", false, false},
		{"/**/x", "//h/y/x", true, true},
		{"/**/h/x", "//h/x", true, false},
		{"/", "//h", false, false},
		{"/a*b/**", "/a%3bb;", false, false},
		{"/a*b/**", "/a%3Bb;x=1/c", false, false},
		{"/a*b/**", "/a%3bc;", false, true},
	}
	for _, tt := range tests {
		p := mustPath(t, tt.pattern)
		if got := p.Match(tt.path); got != tt.match {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.path, got, tt.match)
		}
		if got := p.Ambiguous(tt.path); got == tt.clear {
			t.Errorf("%q is ambiguous for %q: %v", tt.path, tt.pattern, got)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, s := range []string{
		"", "*", "**", "api", "https://a.example/x", "/a?x=1", "/a/../b", "/a//b", "/a%2fb", "/a%zz", "/a#b",
		"/a/**b", "/[ab]", "/{a,b}", "/a b", "/a\n", "/café",
	} {
		if p, err := match.ParsePath(s); err == nil {
			t.Errorf("ParsePath(%q) = %v, want an error", s, p)
		}
	}
}

// servers are ways in which a server may find the resource that a path names.
var servers = map[string]func(string) string{
	"as sent": func(s string) string { return s },
	"decode":  unescape,
	"clean":   clean,
	"decode, clean": func(s string) string {
		return clean(unescape(s))
	},
	"clean, decode": func(s string) string {
		return unescape(clean(s))
	},
	"strip parameters, decode, clean": func(s string) string {
		return clean(unescape(strip(s)))
	},
	"strip parameters, clean, decode": func(s string) string {
		return unescape(clean(strip(s)))
	},
	"decode, strip parameters, clean": func(s string) string {
		return clean(strip(unescape(s)))
	},
	"decode, backslashes, clean": func(s string) string {
		return clean(strings.ReplaceAll(unescape(s), `\`, "/"))
	},
	"merge slashes": func(s string) string { return regexp.MustCompile("/+").ReplaceAllString(s, "/") },
	"host first":    hostFirst,
	"host first, strip parameters, decode, clean": func(s string) string {
		return clean(unescape(strip(hostFirst(s))))
	},
	"cut at NUL": func(s string) string {
		s, _, _ = strings.Cut(unescape(s), "\x00")
		return clean(s)
	},
}

// A path that is not ambiguous for a pattern gets the same answer whichever of
// these servers reads it: what was decided is what is served.
func TestPathAgreesWithServers(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"a", "admin", "b", "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", `\`, ";", ";x=1", "%3b", "%61", "%00",
		"%25", "%252f", "//", "%20", "*", "%c0%ae", "%",
	})
	pattern := rapid.SampledFrom([]string{"/admin/**", "/admin", "/*/admin", "/a/*", "/a*b/**", "/**/b", "/"})
	clear := 0
	rapid.Check(t, func(t *rapid.T) {
		p, err := match.ParsePath(pattern.Draw(t, "pattern"))
		if err != nil {
			t.Fatal(err)
		}
		request := "/" + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
		if p.Ambiguous(request) {
			return
		}
		clear++
		for name, read := range servers {
			if p.Match(read(request)) != p.Match(request) {
				t.Fatalf("%q by %q: %v; a server that does %q reads %q", request, p, p.Match(request), name, read(request))
			}
		}
	})
	if clear == 0 {
		t.Error("every path was ambiguous: the test shows nothing")
	}
}

// hostFirst reads a path as the URL standard of the browsers reads a reference.
func hostFirst(s string) string {
	if !strings.HasPrefix(s, "//") {
		return s
	}
	_, behind, _ := strings.Cut(strings.TrimLeft(s, "/"), "/")
	return "/" + behind
}

func unescape(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

func clean(s string) string {
	cleaned := path.Clean("/" + s)
	if strings.HasSuffix(s, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

func strip(s string) string { return regexp.MustCompile(`;[^/]*`).ReplaceAllString(s, "") }

func TestPathAllocates(t *testing.T) {
	p := mustPath(t, "/api/**/items/*")
	zeroAllocs(t, "Path", func() {
		for _, s := range []string{"/api/v1/items/7", "/api/v1;x=1/%61/items/7", "/a/../b", "//api//v1/items/7", "/other"} {
			p.Match(s)
			p.Ambiguous(s)
		}
	})
}

func TestConformancePaths(t *testing.T) {
	const reject, accept = 6, 27
	rejected, accepted := 0, 0
	for _, c := range conformance(t) {
		target, _, _ := strings.Cut(c.path(t), "?")
		switch {
		case c.Expect == "accept" && strings.HasPrefix(target, "/"):
			accepted++
			if match.AmbiguousPath(target) {
				t.Errorf("%s: %q is ambiguous", c.Name, target)
			}
		case c.Stage == "path":
			rejected++
			if !match.AmbiguousPath(target) {
				t.Errorf("%s: %q is not ambiguous", c.Name, target)
			}
		}
	}
	if rejected < reject || accepted < accept { // a fuller copy may have more
		t.Errorf("saw %d paths to refuse and %d to accept, want %d and %d at the least", rejected, accepted, reject, accept)
	}
}

type httpCase struct {
	Name, Expect, Stage string
	Raw                 string `json:"raw_base64"`
}

func (c httpCase) path(t *testing.T) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(bytes.TrimPrefix(raw, []byte("\r\n")))
	if len(fields) < 2 {
		return ""
	}
	return string(fields[1])
}

func conformance(t *testing.T) (cases []httpCase) {
	t.Helper()
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		t.Skip("OUTWARDEN_CONFORMANCE is not set")
	}
	file, err := os.Open(filepath.Join(dir, "http1", "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := json.NewDecoder(file); lines.More(); {
		var c httpCase
		if err := lines.Decode(&c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

func FuzzPath(f *testing.F) {
	f.Add("/api/**", "/api/v1")
	f.Add("/a/*b*", "/a/%2e%2E;x/b")
	f.Add("/%2A/**/x", "/*/%c0%af/x")
	f.Fuzz(func(t *testing.T, pattern, request string) {
		match.AmbiguousPath(request)
		p, err := match.ParsePath(pattern)
		if err != nil {
			return
		}
		p.Match(request)
		if p.Ambiguous(request) {
			return
		}
		if decoded := unescape(request); p.Match(decoded) != p.Match(request) && !strings.Contains(pattern, "%") {
			t.Errorf("%q by %q: %v, decoded %v", request, pattern, p.Match(request), p.Match(decoded))
		}
		if !p.Covers(p) {
			t.Errorf("%q does not cover itself", pattern)
		}
	})
}

func mustPath(t testing.TB, s string) match.Path {
	t.Helper()
	p, err := match.ParsePath(s)
	if err != nil {
		t.Fatalf("ParsePath(%q): %v", s, err)
	}
	return p
}
