package httpsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
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

// TestComponentValues: values as RFC 9421 section 2 has them.
func TestComponentValues(t *testing.T) {
	request := message()
	response := Message{Status: 503, Fields: []Field{{"Content-Length", "62"}}, Request: &request}
	absolute := Message{Method: "GET", Scheme: "HTTP", Authority: "h:80", Target: "http://h:80?x"}
	options := Message{Method: "OPTIONS", Scheme: "http", Authority: "[2001:DB8::1]:8080", Target: "*"}
	for _, tt := range []struct {
		m    *Message
		c    string
		want string
	}{
		{&request, "@method", "POST"},
		{&request, "@authority", "example.com"},
		{&request, "@scheme", "https"},
		{&request, "@target-uri", "https://example.com/path?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, "@request-target", "/path?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, "@path", "/path"},
		{&request, "@query", "?a=1&b=with+plus&c=%C3%A9%22&d"},
		{&request, `"@query-param";name="a"`, "1"},
		{&request, `"@query-param";name="b"`, "with%20plus"},
		{&request, `"@query-param";name="c"`, "%C3%A9%22"},
		{&request, `"@query-param";name="d"`, ""},
		{&request, "x-two", "one, two"},
		{&request, "x-empty", ""},
		{&request, "x-fold", "one two"},
		{&request, `"x-bytes";bs`, ":Y2Fm6Q==:, :YSwgYg==:"},
		{&request, `"x-two";bs`, ":b25l:, :dHdv:"},
		{&request, `"priority";sf`, "u=1, i"},
		{&request, `"example-dict";key="a"`, "1"},
		{&request, `"example-dict";key="b"`, "2;x=1;y=2"},
		{&request, `"example-dict";key="c"`, "(a b c)"},
		{&request, `"example-dict";key="d"`, "?1"},
		{&request, `"expires-at";tr`, "soon"},
		{&response, "@status", "503"},
		{&response, "content-length", "62"},
		{&response, `"@method";req`, "POST"},
		{&response, `"x-two";req`, "one, two"},
		{&response, `"@query-param";req;name="a"`, "1"},
		{&absolute, "@authority", "h"},
		{&absolute, "@target-uri", "http://h/?x"},
		{&absolute, "@path", "/"},
		{&absolute, "@query", "?x"},
		{&absolute, "@request-target", "http://h:80?x"},
		{&options, "@authority", "[2001:db8::1]:8080"},
		{&options, "@target-uri", "http://[2001:db8::1]:8080"},
		{&options, "@query", "?"},
	} {
		c, err := ParseComponent(tt.c)
		if err != nil {
			t.Errorf("%s: %v", tt.c, err)
			continue
		}
		if got, err := c.value(tt.m); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.c, got, err, tt.want)
		}
	}
}

func TestComponentRefused(t *testing.T) {
	for _, bad := range []string{
		"", "Content-Type", `"a b"`, "@signature-params", `"x";unknown`, `"x";sf=?0`, `"x";sf="a"`, `"x";bs;sf`, `"x";bs;key="a"`,
		`"@method";sf`, `"@method";tr`, `"@query-param"`, `"@method";name="a"`, `"x";name="a"`, `"x";key=1`, `x y`, "a\nb",
	} {
		if c, err := ParseComponent(bad); !errors.Is(err, ErrComponent) {
			t.Errorf("%q: %+v, %v", bad, c, err)
		}
	}
	m := message()
	m.Target += "&a=2&e=%ff"
	for _, bad := range []string{
		"missing", "@status", "@unknown", "x-bytes", `"x-two";sf`, `"example-dict";sf`, `"x-two";key="a"`, `"example-dict";key="z"`,
		`"expires-at"`, `"x-two";tr`, `"@method";req`, `"@query-param";name="a"`, `"@query-param";name="zz"`, `"@query-param";name="e"`,
	} {
		c, err := ParseComponent(bad)
		if err != nil {
			t.Errorf("%q: %v", bad, err)
			continue
		}
		if v, err := c.value(&m); !errors.Is(err, ErrComponent) {
			t.Errorf("%q: %q, %v", bad, v, err)
		}
	}
	response := Message{Status: 200}
	for _, bad := range []string{"@method", "@path", "@query", "@authority", `"@query-param";name="a"`} {
		c := parts(t, bad)[0]
		if v, err := c.value(&response); !errors.Is(err, ErrComponent) {
			t.Errorf("%s of a response: %q, %v", bad, v, err)
		}
	}
}

// TestKnownType: sf on a field that the caller knows.
func TestKnownType(t *testing.T) {
	m := message()
	request := message()
	response := Message{Status: 200, Request: &request, Types: map[string]FieldType{"example-dict": Dictionary}}
	m.Types = response.Types
	for text, m := range map[string]*Message{`"example-dict";sf`: &m, `"example-dict";sf;req`: &response} {
		c := parts(t, text)[0]
		if v, err := c.value(m); err != nil || v != "a=1, b=2;x=1;y=2, c=(a b c), d" {
			t.Errorf("%s: %q, %v", text, v, err)
		}
	}
}

func TestDuplicates(t *testing.T) {
	m := message()
	for _, list := range [][]string{{"@method", "@method"}, {`"x-two";bs;tr`, `"x-two";tr;bs`}} {
		s := &Signer{Label: "a", Key: shared(t), Components: parts(t, list...)}
		if _, err := s.Sign(&m, Params{}); !errors.Is(err, ErrComponent) {
			t.Errorf("%v: %v", list, err)
		}
		m.Fields = append(m.Fields, Field{"Signature-Input", "b=(" + strings.Join([]string{`"@method"`, `"@method"`}, " ") + ")"},
			Field{"Signature", "b=:AA==:"})
		if _, err := Verify(&m, "b", func(Params) (*Key, error) { return shared(t), nil }, Policy{}, created); !errors.Is(err, ErrComponent) {
			t.Errorf("verify: %v", err)
		}
		m = message()
	}
}

// allKeys is one key of each kind, made here.
func allKeys(t testing.TB) []*Key {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out := []*Key{shared(t)}
	k, err := PrivateKey("ed", Ed25519, ed)
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, k)
	for alg, curve := range map[Algorithm]elliptic.Curve{ECDSAP256SHA256: elliptic.P256(), ECDSAP384SHA384: elliptic.P384()} {
		e, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = PrivateKey("ec", alg, e); err != nil {
			t.Fatal(err)
		}
		out = append(out, k)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []Algorithm{RSAPSSSHA512, RSAV15SHA256} {
		if k, err = PrivateKey("rsa", alg, r); err != nil {
			t.Fatal(err)
		}
		out = append(out, k)
	}
	return out
}

// TestKeysRefused: a key serves its own algorithm, and a short one none.
func TestKeysRefused(t *testing.T) {
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	if _, err := PublicKey("short", RSAV15SHA256, short); !errors.Is(err, ErrKey) {
		t.Errorf("RSA of 1024 bits: %v", err)
	}
	if _, err := SharedKey("none", secret.Value{}); !errors.Is(err, ErrKey) {
		t.Errorf("no bytes: %v", err)
	}
	if _, err := PrivateKey("none", Ed25519, nil); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
	for _, key := range allKeys(t)[1:] {
		if _, err := PublicKey("x", HMACSHA256, key.public); !errors.Is(err, ErrKey) {
			t.Errorf("a public key as a shared one: %v", err)
		}
		public, err := PublicKey(key.id, key.alg, key.public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := public.sign(nil); !errors.Is(err, ErrKey) {
			t.Errorf("%s: a public key signs: %v", key.alg, err)
		}
		if ExampleKey(key) {
			t.Errorf("%s: a fresh key is taken for an example", key.alg)
		}
	}
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

func TestPolicy(t *testing.T) {
	sign := func(p Params) Message {
		m := message()
		fields, err := (&Signer{Label: "l", Key: shared(t), Components: parts(t, "@method")}).Sign(&m, p)
		if err != nil {
			t.Fatal(err)
		}
		m.Fields = append(m.Fields, fields...)
		return m
	}
	full := Params{Created: created, Expires: created.Add(time.Minute), Nonce: "n", Tag: "t"}
	for name, tt := range map[string]struct {
		p      Params
		policy Policy
		at     time.Duration
		want   error
	}{
		"fits":         {full, Policy{Required: parts(t, "@method"), Tag: "t", MaxAge: time.Minute, Nonce: true}, 0, nil},
		"not covered":  {full, Policy{Required: parts(t, "@path")}, 0, ErrPolicy},
		"other tag":    {full, Policy{Tag: "u"}, 0, ErrUnsigned},
		"no nonce":     {Params{Created: created}, Policy{Nonce: true}, 0, ErrPolicy},
		"no created":   {Params{}, Policy{MaxAge: time.Minute}, 0, ErrPolicy},
		"early":        {full, Policy{}, -time.Second, ErrEarly},
		"within skew":  {full, Policy{Skew: time.Second}, -time.Second, nil},
		"expired":      {full, Policy{}, time.Minute, ErrExpired},
		"old":          {Params{Created: created}, Policy{MaxAge: time.Minute}, time.Minute + 1, ErrExpired},
		"just in time": {Params{Created: created}, Policy{MaxAge: time.Minute}, time.Minute, nil},
	} {
		m := sign(tt.p)
		v, err := Verify(&m, "", func(Params) (*Key, error) { return shared(t), nil }, tt.policy, created.Add(tt.at))
		if !errors.Is(err, tt.want) || err == nil && (v.Label != "l" || v.Params.KeyID != "k" || len(v.Canonical) != 32) {
			t.Errorf("%s: %v, %+v", name, err, v)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	good := message()
	fields, err := (&Signer{Label: "l", Key: shared(t), Components: parts(t, "@method")}).Sign(&good, Params{Alg: "hmac-sha256"})
	if err != nil {
		t.Fatal(err)
	}
	find := func(Params) (*Key, error) { return shared(t), nil }
	in, sig := fields[0].Value, fields[1].Value
	for name, tt := range map[string]struct {
		input, signature string
		want             error
	}{
		"none":           {"", "", ErrUnsigned},
		"no signature":   {in, "", ErrUnsigned},
		"other label":    {in, strings.Replace(sig, "l=", "m=", 1), ErrUnsigned},
		"not a list":     {"l=1", sig, ErrMalformed},
		"not bytes":      {in, `l="x"`, ErrMalformed},
		"list signature": {in, "l=(1)", ErrMalformed},
		"syntax":         {"l=(", sig, ErrMalformed},
		"other alg":      {strings.Replace(in, "hmac-sha256", "ed25519", 1), sig, ErrKey},
		"created string": {in + `;created="x"`, sig, ErrMalformed},
		"more params":    {in + ";x=1", sig, ErrMismatch},
		"two":            {in + ", m=();created=1", sig, ErrMalformed},
	} {
		m := message()
		m.Fields = append(m.Fields, Field{"signature-input", tt.input}, Field{"signature", tt.signature})
		if _, err := Verify(&m, "", find, Policy{}, created); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	good.Fields = append(good.Fields, fields...)
	for name, tt := range map[string]struct {
		keys func(Params) (*Key, error)
		want error
	}{"no key": {func(Params) (*Key, error) { return nil, nil }, ErrMismatch}, "error": {func(Params) (*Key, error) { return nil, ErrKey }, ErrKey}} {
		if _, err := Verify(&good, "l", tt.keys, Policy{}, created); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if labels, err := Labels(&good); err != nil || len(labels) != 1 || labels[0] != "l" {
		t.Errorf("labels %v, %v", labels, err)
	}
	for _, label := range []string{"l", "", "L", "a b", "1"} {
		if _, err := (&Signer{Label: label, Key: shared(t)}).Sign(&good, Params{}); !errors.Is(err, ErrLabel) {
			t.Errorf("label %q: %v", label, err)
		}
	}
}

// TestDigest: the values of RFC 9530 appendix D.
func TestDigest(t *testing.T) {
	body := []byte("{\"hello\": \"world\"}\n")
	for alg, want := range map[string]string{
		"sha-256": "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
		"sha-512": "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:",
	} {
		if got, err := Digest(body, alg); err != nil || got != want {
			t.Errorf("%s: %q, %v", alg, got, err)
		}
	}
	good, err := Digest(body, "sha-256")
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]error{
		good:                                nil,
		good + ", md5=:AAAA:":               nil,
		good + ", sha-512=:AAAA:":           ErrDigest,
		"md5=:AAAA:":                        ErrDigest,
		"sha-256=x":                         ErrDigest,
		"sha-256=(":                         ErrDigest,
		"sha-256=:AAAA:":                    ErrDigest,
		strings.Replace(good, "RK", "R", 1): ErrDigest,
	} {
		m := Message{Fields: []Field{{"content-digest", value}}}
		if err := CheckDigest(&m, "Content-Digest", body); !errors.Is(err, want) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := Digest(body, "md5"); !errors.Is(err, ErrDigest) {
		t.Errorf("md5: %v", err)
	}
	if err := CheckDigest(&Message{}, "content-digest", nil); !errors.Is(err, ErrDigest) {
		t.Errorf("none: %v", err)
	}
}

// TestBot: a bot's signature names its key by thumbprint and covers its agent.
func TestBot(t *testing.T) {
	key := allKeys(t)[1]
	m := message()
	fields, err := SignBot(&m, key, "https://bot.example", created, time.Hour, NewNonce())
	if err != nil || len(fields) != 3 || fields[0].Value != `"https://bot.example"` {
		t.Fatalf("%v, %v", fields, err)
	}
	m.Fields = append(m.Fields, fields...)
	id, err := Thumbprint(key.public)
	if err != nil {
		t.Fatal(err)
	}
	policy := Policy{Required: parts(t, "@authority", "signature-agent"), Tag: BotTag, Nonce: true, MaxAge: 24 * time.Hour}
	v, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, policy, created)
	if err != nil || v.Params.KeyID != id || !v.Params.Expires.Equal(created.Add(time.Hour)) {
		t.Fatalf("%+v, %v", v, err)
	}
	m.Fields[len(m.Fields)-3].Value = `"https://other.example"`
	if _, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, policy, created); !errors.Is(err, ErrMismatch) {
		t.Errorf("other agent: %v", err)
	}
	plain := message()
	if _, err := SignBot(&plain, shared(t), "", created, time.Hour, "n"); !errors.Is(err, ErrKey) {
		t.Errorf("shared key: %v", err)
	}
	if _, err := SignBot(&plain, key, "", created, 25*time.Hour, "n"); !errors.Is(err, ErrPolicy) {
		t.Errorf("too long: %v", err)
	}
}

// TestThumbprint: the key and value of RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	x := ed25519.PublicKey{
		0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
		0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
	}
	if got, err := Thumbprint(x); err != nil || got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(`l=("@method" "x-two";bs);created=1;keyid="k"`, "l=:AAAA:", "a=1, b=(1 2)")
	f.Add(`l=("@query-param";name="a" "x";key="b");alg="hmac-sha256"`, "l=:AAAA:", "b;x")
	key := shared(f)
	f.Fuzz(func(t *testing.T, input, signature, field string) {
		m := message()
		m.Fields = append(m.Fields, Field{"Signature-Input", input}, Field{"Signature", signature}, Field{"X", field})
		if _, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, Policy{}, created); err == nil {
			t.Fatalf("%q %q verifies", input, signature)
		}
		_ = CheckDigest(&m, "x", nil)
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ParsePrivateKey(text); err == nil && s.Public() == nil {
			t.Fatal("a private key without a public one")
		}
		if p, err := ParsePublicKey(text); err == nil && p == nil {
			t.Fatal("no key and no error")
		}
	})
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
