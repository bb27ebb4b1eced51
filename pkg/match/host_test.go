package match_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/match"
)

func TestCanonicalHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := []struct {
		in, want string
		err      error
	}{
		{"api.example.com", "api.example.com", nil},
		{"API.Example.COM", "api.example.com", nil},
		{"api.example.com.", "api.example.com", nil},
		{"my_api.example.com", "my_api.example.com", nil},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", nil},
		{"localhost", "localhost", nil},
		{"1e100.net", "1e100.net", nil},
		{"192.0.2.1", "192.0.2.1", nil},
		{"2001:DB8:0:0::1", "2001:db8::1", nil},
		{"[2001:db8::1]", "2001:db8::1", nil},
		{"::ffff:192.0.2.1", "192.0.2.1", nil},
		{"[::ffff:c000:201]", "192.0.2.1", nil},
		{long + ".example", long + ".example", nil},

		{"", "", match.ErrHostEmpty},
		{".", "", match.ErrHostSyntax},
		{"..", "", match.ErrHostSyntax},
		{"a..b", "", match.ErrHostSyntax},
		{".a", "", match.ErrHostSyntax},
		{"a.com..", "", match.ErrHostSyntax},
		{"-a.com", "", match.ErrHostSyntax},
		{"a-.com", "", match.ErrHostSyntax},
		{"a b.com", "", match.ErrHostSyntax},
		{"a.com:443", "", match.ErrHostSyntax},
		{"u@a.com", "", match.ErrHostSyntax},
		{"a%2ecom", "", match.ErrHostSyntax},
		{"a\x00.com", "", match.ErrHostSyntax},
		{"*.a.com", "", match.ErrHostSyntax},
		{"bücher.example", "", match.ErrHostSyntax},
		{"ａ.example", "", match.ErrHostSyntax},
		{"a/b", "", match.ErrHostSyntax},
		{"[192.0.2.1]", "", match.ErrHostSyntax},
		{"[2001:db8::1", "", match.ErrHostSyntax},
		{"[]", "", match.ErrHostSyntax},
		{"[fe80::1%eth0]", "", match.ErrHostSyntax},
		{"fe80::1%eth0", "", match.ErrHostSyntax},
		{"127.1", "", match.ErrHostNumeric},
		{"2130706433", "", match.ErrHostNumeric},
		{"0x7f.1", "", match.ErrHostNumeric},
		{"0x7f000001", "", match.ErrHostNumeric},
		{"0177.0.0.1", "", match.ErrHostNumeric},
		{"127.0.0.1.", "", match.ErrHostNumeric},
		{"256.0.0.1", "", match.ErrHostNumeric},
		{"a.0x", "", match.ErrHostNumeric},
		{"api.1", "", match.ErrHostNumeric},
		{long + "a.example", "", match.ErrHostLength},
		{strings.Repeat("a.", 130) + "com", "", match.ErrHostLength},
	}
	for _, tt := range tests {
		got, err := match.CanonicalHost(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("CanonicalHost(%q) = %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestHostMatch(t *testing.T) {
	tests := []struct {
		pattern string
		match   []string
		miss    []string
	}{
		{"API.example.com.", []string{"api.example.com"}, []string{"", "example.com", "x.api.example.com", "api.example.comm"}},
		{"*.example.com", []string{"a.example.com", "a.b.example.com"}, []string{"", "example.com", ".example.com", "badexample.com", "example.com.evil.net"}},
		{"192.0.2.1", []string{"192.0.2.1"}, []string{"192.0.2.10", "2001:db8::1"}},
		{"[2001:DB8::1]", []string{"2001:db8::1"}, []string{"2001:db8::2"}},
		{"192.0.2.0/24", []string{"192.0.2.0", "192.0.2.255"}, []string{"192.0.3.0", "a.example.com", "", "2001:db8::1"}},
		{"2001:db8::/32", []string{"2001:db8::1"}, []string{"2001:db9::1", "192.0.2.1"}},
		{"*", []string{"", "a.example.com", "192.0.2.1", "2001:db8::1"}, nil},
	}
	for _, tt := range tests {
		h := mustHost(t, tt.pattern)
		for _, s := range tt.match {
			if !h.Match(s) {
				t.Errorf("%q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.miss {
			if h.Match(s) {
				t.Errorf("%q matches %q", tt.pattern, s)
			}
		}
		if again := mustHost(t, h.String()); again != h {
			t.Errorf("%q prints as %q, which is another pattern", tt.pattern, h)
		}
	}
	if (match.Host{}).Match("") || (match.Host{}).Match("a") {
		t.Error("the zero Host matches")
	}
}

func TestParseHostRefuses(t *testing.T) {
	for _, s := range []string{
		"", "*.", "*.*.example.com", "a*.example.com", "api.*", "**", "*.192.0.2.1", "*.2001:db8::1",
		"192.0.2.1/24", "192.0.2.0/33", "192.0.2/24", "::ffff:192.0.2.0/120", "https://a.example", "a.example/x",
		"a.example:443", "127.1", "bücher.example", "a.example\n", " a.example",
	} {
		if h, err := match.ParseHost(s); err == nil {
			t.Errorf("ParseHost(%q) = %v, want an error", s, h)
		}
	}
}

func TestHostCovers(t *testing.T) {
	tests := []struct {
		outer, inner string
		want         bool
	}{
		{"*", "*", true}, {"*", "a.com", true}, {"*", "10.0.0.0/8", true}, {"a.com", "*", false},
		{"*.com", "*.a.com", true}, {"*.com", "a.com", true}, {"*.a.com", "*.com", false}, {"*.a.com", "a.com", false},
		{"a.com", "a.com", true}, {"a.com", "b.com", false}, {"a.com", "*.a.com", false},
		{"10.0.0.0/8", "10.1.0.0/16", true}, {"10.1.0.0/16", "10.0.0.0/8", false}, {"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "a.com", false}, {"10.0.0.0/8", "*.a.com", false}, {"0.0.0.0/0", "2001:db8::/32", false},
	}
	for _, tt := range tests {
		if got := mustHost(t, tt.outer).Covers(mustHost(t, tt.inner)); got != tt.want {
			t.Errorf("%q covers %q: %v, want %v", tt.outer, tt.inner, got, tt.want)
		}
	}
}

func TestSplitAuthority(t *testing.T) {
	tests := []struct {
		in, host string
		port     uint16
		has, ok  bool
	}{
		{"a.example", "a.example", 0, false, true},
		{"A.example:443", "a.example", 443, true, true},
		{"a.example:", "a.example", 0, false, true},
		{"a.example:0", "a.example", 0, true, true},
		{"a.example:65535", "a.example", 65535, true, true},
		{"a.example:00443", "a.example", 443, true, true},
		{"192.0.2.1:80", "192.0.2.1", 80, true, true},
		{"[2001:db8::1]", "2001:db8::1", 0, false, true},
		{"[2001:db8::1]:8443", "2001:db8::1", 8443, true, true},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1", 1, true, true},
		{"2001:db8::1", "", 0, false, false},
		{"a.example:65536", "", 0, false, false},
		{"a.example:000443", "", 0, false, false},
		{"a.example:+1", "", 0, false, false},
		{"a.example:4 3", "", 0, false, false},
		{"a.example:80:90", "", 0, false, false},
		{"user@a.example", "", 0, false, false},
		{":443", "", 0, false, false},
		{"", "", 0, false, false},
		{"[]:443", "", 0, false, false},
		{"[2001:db8::1]x:443", "", 0, false, false},
		{"[a.example]:443", "", 0, false, false},
	}
	for _, tt := range tests {
		host, port, has, err := match.SplitAuthority(tt.in)
		if host != tt.host || port != tt.port || has != tt.has || (err == nil) != tt.ok {
			t.Errorf("SplitAuthority(%q) = %q, %d, %v, %v", tt.in, host, port, has, err)
		}
	}
}

func TestHostAllocates(t *testing.T) {
	patterns := []match.Host{mustHost(t, "a.example"), mustHost(t, "*.example"), mustHost(t, "10.0.0.0/8"), mustHost(t, "*")}
	zeroAllocs(t, "Host.Match", func() {
		for _, p := range patterns {
			p.Match("a.example")
			p.Match("10.1.2.3")
			p.Match("2001:db8::1")
		}
	})
	zeroAllocs(t, "SplitAuthority", func() {
		for _, s := range []string{"a.example:443", "10.1.2.3", "[2001:db8::1]:443"} {
			if _, _, _, err := match.SplitAuthority(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.example", "A.example.", "[2001:DB8::1]:443", "*.example.com", "10.0.0.0/8", "127.1", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if host, err := match.CanonicalHost(s); err == nil {
			again, err := match.CanonicalHost(host)
			if err != nil || again != host {
				t.Errorf("%q is canonical as %q, and that as %q, %v", s, host, again, err)
			}
			if h := mustHost(t, host); !h.Match(host) {
				t.Errorf("%q does not match itself", host)
			}
		}
		if host, _, _, err := match.SplitAuthority(s); err == nil {
			if again, err := match.CanonicalHost(host); err != nil || again != host {
				t.Errorf("%q has the host %q, which is not canonical", s, host)
			}
		}
		if h, err := match.ParseHost(s); err == nil && mustHost(t, h.String()) != h {
			t.Errorf("%q prints as %q, another pattern", s, h)
		}
	})
}

func mustHost(t testing.TB, s string) match.Host {
	t.Helper()
	h, err := match.ParseHost(s)
	if err != nil {
		t.Fatalf("ParseHost(%q): %v", s, err)
	}
	return h
}

func zeroAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}
