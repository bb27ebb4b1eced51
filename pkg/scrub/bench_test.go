package scrub

import (
	"fmt"
	"math/rand/v2"
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
