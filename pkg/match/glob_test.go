package match_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/match"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern string
		match   []string
		miss    []string
	}{
		{"/opt/billing/bin/*", []string{"/opt/billing/bin/pay", "/opt/billing/bin/"}, []string{"/opt/billing/bin", "/opt/billing/bin/x/y", "opt/billing/bin/pay"}},
		{"/opt/**", []string{"/opt", "/opt/", "/opt/a", "/opt/a/b"}, []string{"/optional", "/o"}},
		{"/opt/**/pay", []string{"/opt/pay", "/opt/a/pay", "/opt/a/b/pay"}, []string{"/opt/paying", "/pay", "/opt/pay/x"}},
		{"**/pay", []string{"/usr/bin/pay", "pay"}, []string{"/usr/bin/repay"}},
		{"/a/**/b/**/c", []string{"/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c/c"}, []string{"/a/c/b", "/a/b"}},
		{"**", []string{"/", "a", "/a/b"}, []string{""}},
		{"*", []string{"a", "ssh.service"}, []string{"", "/", "a/b"}},
		{"billing@*.service", []string{"billing@1.service", "billing@.service"}, []string{"billing@1.timer", "xbilling@1.service"}},
		{"*a*b*", []string{"ab", "xaxbx", "aab"}, []string{"ba", "a", ""}},
		{`/system.slice/dev\x2d1.device`, []string{`/system.slice/dev\x2d1.device`}, []string{"/system.slice/dev-1.device"}},
		{"/a%2fb", []string{"/a%2fb"}, []string{"/a%2Fb", "/a/b"}},
	}
	for _, tt := range tests {
		g := mustGlob(t, tt.pattern)
		for _, s := range tt.match {
			if !g.Match(s) {
				t.Errorf("%q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.miss {
			if g.Match(s) {
				t.Errorf("%q matches %q", tt.pattern, s)
			}
		}
	}
	if (match.Glob{}).Match("") || (match.Glob{}).Match("a") {
		t.Error("the zero Glob matches")
	}
}

func TestParseGlobRefuses(t *testing.T) {
	for _, s := range []string{"", "a**", "/a/**b", "/***", "/[ab]", "/{a,b}", "/a?", "/a\n", "/a\x00", "/a]"} {
		if g, err := match.ParseGlob(s); err == nil {
			t.Errorf("ParseGlob(%q) = %v, want an error", s, g)
		}
	}
}

// A regular expression is the independent reading of the grammar.
func TestGlobAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := drawPattern(t, "pattern")
		s := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[ab*]{0,3}`), 1, 5).Draw(t, "segments"), "/")
		g, err := match.ParseGlob(pattern)
		if err != nil || s == "" {
			return
		}
		if got, want := g.Match(s), asRegexp(pattern).MatchString("/"+s); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, s, got, want)
		}
	})
}

// What a covered pattern matches, the covering one matches.
func TestGlobCovers(t *testing.T) {
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		outer, inner := drawPattern(t, "outer"), drawPattern(t, "inner")
		s := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[ab]{0,3}`), 1, 5).Draw(t, "segments"), "/")
		if outer == "" || inner == "" || !mustGlobRapid(t, outer).Covers(mustGlobRapid(t, inner)) {
			return
		}
		covered++
		if mustGlobRapid(t, inner).Match(s) && !mustGlobRapid(t, outer).Match(s) {
			t.Fatalf("%q covers %q but does not match %q", outer, inner, s)
		}
	})
	if covered == 0 {
		t.Error("no pattern covered another: the test shows nothing")
	}
	for _, tt := range [][2]string{{"/a/**", "/a/*"}, {"/a/**", "/a/**"}, {"/a/*", "/a/b*"}, {"**", "/**/x"}, {"/a/*x*", "/a/bx*"}} {
		if !mustGlob(t, tt[0]).Covers(mustGlob(t, tt[1])) {
			t.Errorf("%q does not cover %q", tt[0], tt[1])
		}
	}
	for _, tt := range [][2]string{{"/a/*", "/a/**"}, {"/a/b", "/a/*"}, {"/a/b*", "/a/*b"}, {"/a/*/**", "/a/**"}} {
		if mustGlob(t, tt[0]).Covers(mustGlob(t, tt[1])) {
			t.Errorf("%q covers %q", tt[0], tt[1])
		}
	}
}

func drawPattern(t *rapid.T, name string) string {
	segment := rapid.OneOf(rapid.Just("**"), rapid.StringMatching(`(a|b|\*[ab]){0,3}\*?`))
	return strings.Join(rapid.SliceOfN(segment, 1, 5).Draw(t, name), "/")
}

// asRegexp says the grammar once more: ** is any run of segments, * any bytes
// without a slash.
func asRegexp(pattern string) *regexp.Regexp {
	var b strings.Builder
	for _, segment := range strings.Split(pattern, "/") {
		if segment == "**" {
			b.WriteString("(/[^/]*)*")
			continue
		}
		b.WriteString("/" + strings.ReplaceAll(regexp.QuoteMeta(segment), `\*`, "[^/]*"))
	}
	// One slash more in front of both lets every segment bring its own.
	return regexp.MustCompile("^" + b.String() + "$")
}

func mustGlob(t testing.TB, s string) match.Glob {
	t.Helper()
	g, err := match.ParseGlob(s)
	if err != nil {
		t.Fatalf("ParseGlob(%q): %v", s, err)
	}
	return g
}

func mustGlobRapid(t *rapid.T, s string) match.Glob {
	g, err := match.ParseGlob(s)
	if err != nil {
		t.Fatalf("ParseGlob(%q): %v", s, err)
	}
	return g
}
