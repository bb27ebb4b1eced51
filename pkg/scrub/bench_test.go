package scrub

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// BenchmarkStream: what bodies cost that hold no secret, in the pieces in which they
// are read.
func BenchmarkStream(b *testing.B) {
	f := filterOf(map[string]string{"token": "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqL", "pair": "billing:hunter2-hunter2"})
	one := filterOf(map[string]string{"token": "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqL"})
	random := make([]byte, 32<<10)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	bodies := map[string]string{
		"random": string(random),
		"json":   strings.Repeat(`{"id":"8f14e45f-ceea-467f-a0e6-1c1b2f6d2a11","amount":1099,"currency":"eur","note":"a \"quoted\" word\n"},`, 320)[:32<<10],
		"same":   strings.Repeat("a", 32<<10),
		"escape": strings.Repeat(`%20\u0041&#65;`, 3000)[:32<<10],
		"event":  "data: {\"id\":1234,\"text\":\"hello\"}\n\n",
	}
	for name, body := range bodies {
		for secrets, f := range map[string]*Filter{"two": f, "one": one} {
			b.Run(fmt.Sprintf("%s/%s", name, secrets), func(b *testing.B) {
				var tally Tally
				s, p := f.Stream(Options{}, &tally), []byte(body)
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					s.Next(p)
				}
			})
		}
	}
}

// BenchmarkNew: what a secret costs when a configuration is loaded, and how much of
// that stays in memory.
func BenchmarkNew(b *testing.B) {
	for name, length := range map[string]int{"40": 40, "2000": 2000} {
		b.Run(name, func(b *testing.B) {
			secret := map[string]string{"token": strings.Repeat("sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqL", length/40)}
			var kept []*Filter
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				kept = append(kept, filterOf(secret))
			}
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(kept)), "B/secret")
			runtime.KeepAlive(kept)
		})
	}
}

// BenchmarkBody: what an encoded content of 16 KiB costs: looked at alone, as where it
// is here already, and encoded anew.
func BenchmarkBody(b *testing.B) {
	f := filterOf(map[string]string{"token": "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqL"})
	text := strings.Repeat(`{"id":"8f14e45f-ceea-467f-a0e6-1c1b2f6d2a11","amount":1099,"currency":"eur"},`, 300)[:16<<10]
	for name, c := range codecs {
		coded := c.encode(b, text)
		b.Run(name+"/looked at", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if clean, err := f.CleanBody(c.encoding, coded); !clean || err != nil {
					b.Fatal(clean, err)
				}
			}
		})
		b.Run(name+"/encoded anew", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := whole(f, c.encoding, coded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHas: what a head costs in which nothing is found.
func BenchmarkHas(b *testing.B) {
	f := filterOf(map[string]string{"token": "b3nch-t0ken-of-the-rig-0123456789"})
	head := []byte("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 22:00:20 GMT\r\nContent-Type: application/octet-stream\r\n" +
		"Content-Length: 1024\r\nLast-Modified: Fri, 27 Nov 2026 21:59:22 GMT\r\nConnection: keep-alive\r\nETag: \"6a3c8f4a-400\"\r\nAccept-Ranges: bytes\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if f.Has(head) {
			b.Fatal("found")
		}
	}
}
