package httpsig

import (
	"bytes"
	"crypto/ecdsa"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
	"pgregory.net/rapid"
)

var created = time.Unix(1_700_000_000, 0)

func message() Message {
	return Message{
		Method: "POST", Authority: "Example.com:443", Target: "/path?a=1&b=with+plus&c=%C3%A9%22&d", Fields: []Field{
			{"Host", "Example.com:443"}, {"X-Two", " one "}, {"x-two", "\ttwo"}, {"X-Empty", ""},
			{"Example-Dict", "a=1,    b=2;x=1;y=2, c=(a   b    c), d"}, {"Priority", "u=1,   i"}, {"X-Fold", "one\r\n   two"},
			{"X-Bytes", "caf\xe9"}, {"X-Bytes", "a, b"},
		},
		Trailers: []Field{{"Expires-At", "soon"}},
	}
}

func parts(t testing.TB, list ...string) []Component {
	t.Helper()
	c, err := Components(list...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func shared(t testing.TB) *Key {
	t.Helper()
	k, err := SharedKey("k", secret.New([]byte("shared")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRoundTrip: what is signed verifies, and nothing else does.
func TestRoundTrip(t *testing.T) {
	all := allKeys(t)
	choice := []string{"@method", "@authority", "@path", "@query", "@target-uri", "@request-target", "x-two", `"x-two";bs`, `"priority";sf`,
		`"example-dict";key="b"`, `"expires-at";tr`, `"@query-param";name="b"`}
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SampledFrom(all).Draw(rt, "key")
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(choice), 1, len(choice), rapid.ID).Draw(rt, "components")
		m := message()
		p := Params{Created: created, Expires: created.Add(time.Minute), Nonce: rapid.StringMatching(`[ -~]{0,9}`).Draw(rt, "nonce"), Tag: "t"}
		fields, err := (&Signer{Label: "l", Key: key, Components: parts(t, names...)}).Sign(&m, p)
		if err != nil {
			rt.Fatal(err)
		}
		m.Fields = append(m.Fields, fields...)
		verify := func(m Message) error {
			policy := Policy{Required: parts(t, names...), MaxAge: time.Minute, Tag: "t"}
			_, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, policy, created)
			return err
		}
		if err := verify(m); err != nil {
			rt.Fatalf("%s: %v", key.alg, err)
		}
		for name, bad := range changed(m, names) {
			if verify(bad) == nil {
				rt.Fatalf("%s changed and accepted; covered %v", name, names)
			}
		}
	})
}

// changed gives m with each covered component changed.
func changed(m Message, covered []string) map[string]Message {
	out := map[string]Message{}
	for _, c := range covered {
		bad := m
		bad.Fields = append([]Field(nil), m.Fields...)
		switch c {
		case "@method":
			bad.Method = "post"
		case "@authority":
			bad.Authority += "1"
		case "@path":
			bad.Target = "/Path?a=1&b=with+plus&c=%C3%A9%22&d"
		case "@query", "@target-uri", "@request-target":
			bad.Target += "&"
		case `"@query-param";name="b"`:
			bad.Target = "/path?b=with+pluS"
		case `"expires-at";tr`:
			bad.Trailers = []Field{{"Expires-At", "later"}}
		case "x-two", `"x-two";bs`:
			bad.Fields[2].Value = "twO"
		case `"priority";sf`:
			bad.Fields[5].Value = "u=2, i"
		case `"example-dict";key="b"`:
			bad.Fields[4].Value = "b=2;x=1;y=3"
		}
		out[c] = bad
	}
	input, signature := m, m
	n := len(m.Fields)
	input.Fields = append([]Field(nil), m.Fields...)
	input.Fields[n-2].Value = strings.Replace(m.Fields[n-2].Value, "created=1700000000", "created=1699999999", 1)
	signature.Fields = append([]Field(nil), m.Fields...)
	b := []byte(m.Fields[n-1].Value)
	b[10] ^= 2
	signature.Fields[n-1].Value = string(b)
	out["created"], out["signature"] = input, signature
	return out
}

// TestECDSATwin: the other signature that verifies has the same canonical form.
func TestECDSATwin(t *testing.T) {
	for _, key := range allKeys(t)[2:4] {
		sig, err := key.sign([]byte("base"))
		if err != nil {
			t.Fatal(err)
		}
		n := len(sig) / 2
		twin := bytes.Clone(sig)
		s := new(big.Int).SetBytes(sig[n:])
		s.Sub(key.public.(*ecdsa.PublicKey).Params().N, s).FillBytes(twin[n:])
		if !key.verify([]byte("base"), twin) || bytes.Equal(sig, twin) {
			t.Fatal("the twin does not verify: this test tests nothing")
		}
		if !bytes.Equal(key.canonical(sig), key.canonical(twin)) {
			t.Error("two canonical forms")
		}
		if key.verify([]byte("base"), sig[1:]) || key.verify([]byte("base"), append(sig, 0)) {
			t.Error("a signature of another length verifies")
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, key := range allKeys(b) {
		b.Run(string(key.alg), func(b *testing.B) {
			m := message()
			s := &Signer{Label: "l", Key: key, Components: parts(b, "@method", "@authority", "@path", "@query", "x-two")}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(&m, Params{Created: created}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
