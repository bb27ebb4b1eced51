package match

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The short ways must give the answers of the long ones.

func TestPlainNamesAreCanonical(t *testing.T) {
	plain, others := 0, 0
	long := rapid.StringMatching(`[ab0]{58,64}`)
	short := rapid.OneOf(rapid.StringMatching(`[a-z0-9]{1,3}`), rapid.StringMatching(`[abxA0-9_\-]{0,4}`), rapid.Just("0x1f"), long)
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			s := strings.Join(rapid.SliceOfN(short, 0, 6).Draw(t, "labels"), ".") + rapid.SampledFrom([]string{"", "", "", ".", ":", ":80", "]", " ", "\x00", "é", "/", "*"}).Draw(t, "end")
			if !plainName(s) {
				others++
				continue
			}
			plain++
			if name, err := canonicalName(s); name != s || err != nil || addressLike(s) {
				t.Fatalf("%q is taken as it is, but its canonical form is %q, %v", s, name, err)
			}
		}
	})
	if plain == 0 || others == 0 {
		t.Errorf("%d plain names and %d others: the test shows nothing", plain, others)
	}
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "a.-b", "A", "a.1", "a.0x1", "[::1]", "a:1", strings.Repeat("a", 64), strings.Repeat("a.", 126) + "aa"} {
		if plainName(s) {
			t.Errorf("%q is taken for a plain name", s)
		}
	}
	for _, s := range []string{"a", "api.partner.example", "a-b.c_d.x1", "1.2.a", "xn--bcher-kva.example", strings.Repeat("a", 63), strings.Repeat("a.", 126) + "a"} {
		if !plainName(s) {
			t.Errorf("%q is not taken for a plain name", s)
		}
	}
}

func TestPlainPathsHaveOneReading(t *testing.T) {
	plain, others := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			path := rapid.StringMatching(`(/|/|/a|/b|/\.|\.|a|;|%|%2f|%2e|\\|#|\?| |\x7f|\x80|~|:|@|\*){0,6}`).Draw(t, "path")
			if !plainPath(path) {
				others++
				continue
			}
			plain++
			if ambiguousSegments(path[1:]) {
				t.Fatalf("%q is taken for a plain path, but is ambiguous", path)
			}
			p, err := ParsePath(rapid.StringMatching(`(/a|/b|/\*|/\*\*|/a\*|/;x|/a;x){1,4}`).Draw(t, "pattern"))
			if err != nil {
				continue
			}
			for _, as := range []reading{decoded, stripped, decoded | stripped} {
				if as&stripped != 0 && has(p.String(), ';') {
					continue
				}
				if p.reads(path, as) != p.Match(path) {
					t.Fatalf("%q by %q is another in reading %d", path, p, as)
				}
			}
		}
	})
	if plain == 0 || others == 0 {
		t.Errorf("%d plain paths and %d others: the test shows nothing", plain, others)
	}
}

func TestShapesMatchAsSegmentsDo(t *testing.T) {
	shaped, matched := map[shape]int{}, map[shape]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 100 { // rapid's own count is too small to see each shape match
			tryShape(t, shaped, matched)
		}
	})
	for _, s := range []shape{irregular, whole, under, last} {
		if matched[s] == 0 || matched[s] == shaped[s] {
			t.Errorf("shape %d: %d of %d matched: the test shows nothing", s, matched[s], shaped[s])
		}
	}
}

func tryShape(t *rapid.T, shaped, matched map[shape]int) {
	t.Helper()
	fixed := rapid.StringMatching(`/?[ab]?(/|/a|/b|/ab){0,3}`).Draw(t, "fixed")
	g, err := ParseGlob(rapid.SampledFrom([]string{"", "**/", "**"}).Draw(t, "front") + fixed + rapid.SampledFrom([]string{"", "/**", "/*", "**"}).Draw(t, "back"))
	if err != nil {
		return
	}
	s := rapid.SampledFrom([]string{"", "/", "a", "a/", "/a/"}).Draw(t, "before") + fixed + rapid.SampledFrom([]string{"", "/", "a", "/a", "/*/b"}).Draw(t, "behind")
	want := matchSegments(g.segments, s, literal)
	if got := g.matches(s); got != want {
		t.Fatalf("%q matches %q: %v, by segments %v", g, s, got, want)
	}
	if shaped[g.shape]++; want {
		matched[g.shape]++
	}
}
