package match_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/match"
)

// BenchmarkHost is what is asked of names for every request.
func BenchmarkHost(b *testing.B) {
	for name, s := range map[string]string{"canonical": "api.partner.example", "port": "api.partner.example:443", "address": "203.0.113.10", "upper": "API.partner.example"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, _, err := match.SplitAuthority(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("isAddress", func(b *testing.B) {
		for b.Loop() {
			if _, ok := match.Address("api.partner.example"); ok {
				b.Fatal("a name is an address")
			}
		}
	})
}

// BenchmarkGlob matches one executable.
func BenchmarkGlob(b *testing.B) {
	for _, pattern := range []string{"/usr/lib/jvm/bin/java", "/usr/lib/**", "**/java", "/usr/lib/*/bin/java", "/usr/bin/curl"} {
		glob, err := match.ParseGlob(pattern)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(pattern, func(b *testing.B) {
			for b.Loop() {
				glob.Match("/usr/lib/jvm/bin/java")
			}
		})
	}
}

// BenchmarkPath judges the path of one request as policy does.
func BenchmarkPath(b *testing.B) {
	for pattern, path := range map[string]string{
		"/**": "/v1/charges/42", "/v1/**": "/v1/charges/43", "/v1/charges": "/v1/charges", "/v1/*/items": "/v1/charges%20x/items",
	} {
		p, err := match.ParsePath(pattern)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(pattern, func(b *testing.B) {
			for b.Loop() {
				if p.Ambiguous(path) || !p.Match(path) {
					b.Fatal(path)
				}
			}
		})
	}
}
