package httpsig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
)

// The cases of RFC 9421 appendix B.2 that are there at the least; a fuller copy
// may have more.
const leastCases = 3

func conformance(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		t.Skip("OUTWARDEN_CONFORMANCE is not set: no conformance data")
	}
	return filepath.Join(dir, "rfc9421")
}

// rfcCase is case.json.
type rfcCase struct {
	Message       string          `json:"message"`
	Label         string          `json:"label"`
	Algorithm     Algorithm       `json:"algorithm"`
	Key           string          `json:"key"`
	Components    []string        `json:"components"`
	Params        json.RawMessage `json:"params"`
	Order         []string        `json:"param_order"`
	Deterministic bool            `json:"deterministic"`
}

func (c *rfcCase) params(t *testing.T) Params {
	var p struct {
		Created, Expires       int64
		KeyID, Nonce, Alg, Tag string
	}
	if err := json.Unmarshal(c.Params, &p); err != nil {
		t.Fatal(err)
	}
	out := Params{KeyID: p.KeyID, Nonce: p.Nonce, Alg: p.Alg, Tag: p.Tag}
	if p.Created != 0 {
		out.Created = time.Unix(p.Created, 0)
	}
	if p.Expires != 0 {
		out.Expires = time.Unix(p.Expires, 0)
	}
	return out
}

func TestRFC9421(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(conformance(t), "*", "case.json"))
	if err != nil || len(dirs) < leastCases {
		t.Fatalf("%d cases, want %d at the least: %v", len(dirs), leastCases, err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) { testCase(t, dir) })
	}
}

func testCase(t *testing.T, dir string) {
	var c rfcCase
	if err := json.Unmarshal(read(t, dir, "case.json"), &c); err != nil {
		t.Fatal(err)
	}
	components, err := Components(c.Components...)
	if err != nil {
		t.Fatal(err)
	}
	private, public := keys(t, filepath.Join(filepath.Dir(dir), "keys"), c.Key, c.Algorithm)
	s := &Signer{Label: c.Label, Key: private, Components: components, Order: c.Order}
	m, _ := parseHTTP(t, dir, "message.http")
	base, err := s.Base(&m, c.params(t))
	if want := strings.TrimRight(string(read(t, dir, "signature-base.txt")), "\n"); err != nil || base != want {
		t.Fatalf("base (%v)\n got %q\nwant %q", err, base, want)
	}
	fields, err := s.Sign(&m, c.params(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := c.Label + "=" + strings.TrimSpace(string(read(t, dir, "signature-params.txt"))); fields[0].Value != want {
		t.Errorf("input\n got %q\nwant %q", fields[0].Value, want)
	}
	want := c.Label + "=:" + strings.TrimSpace(string(read(t, dir, "signature.base64"))) + ":"
	if c.Deterministic && fields[1].Value != want {
		t.Errorf("signature\n got %q\nwant %q", fields[1].Value, want)
	}
	ours := m
	ours.Fields = append(m.Fields[:len(m.Fields):len(m.Fields)], fields...)
	theirs, body := parseHTTP(t, dir, "signed.http")
	for _, signed := range []Message{ours, theirs} {
		checkSigned(t, &c, signed, public)
	}
	if len(lines(theirs.Fields, "content-digest")) > 0 {
		if err := CheckDigest(&theirs, "content-digest", body); err != nil {
			t.Errorf("content-digest: %v", err)
		}
	}
}

// checkSigned accepts m, and refuses it with a covered component, a parameter or
// a byte of the signature changed.
func checkSigned(t *testing.T, c *rfcCase, m Message, key *Key) {
	t.Helper()
	find := func(Params) (*Key, error) { return key, nil }
	now := c.params(t).Created.Add(time.Second)
	policy := Policy{}
	if _, err := Verify(&m, c.Label, find, policy, now); err != nil {
		t.Fatalf("as signed: %v", err)
	}
	refuse := func(what string, bad Message) {
		t.Helper()
		if _, err := Verify(&bad, c.Label, find, policy, now); err == nil {
			t.Errorf("%s changed: accepted", what)
		}
	}
	for i, f := range m.Fields {
		bad := m
		bad.Fields = append([]Field(nil), m.Fields...)
		switch strings.ToLower(f.Name) {
		case "signature-input":
			for _, change := range [][2]string{{"created=1", "created=0"}, {`keyid="`, `keyid="x`}, {`nonce="`, `nonce="x`}, {`tag="`, `tag="x`}} {
				bad.Fields[i].Value = strings.Replace(f.Value, change[0], change[1], 1)
				if bad.Fields[i].Value != f.Value {
					refuse(change[0], bad)
				}
			}
		case "signature":
			b := []byte(f.Value)
			b[len(c.Label)+8] ^= 1
			bad.Fields[i].Value = string(b)
			refuse("signature", bad)
		default:
			bad.Fields[i].Value = f.Value + "x"
			if strings.Contains(strings.Join(c.Components, " "), `"`+strings.ToLower(f.Name)+`"`) {
				refuse(f.Name, bad)
			}
		}
	}
	if strings.Contains(strings.Join(c.Components, " "), `"@authority"`) {
		bad := m
		bad.Authority = "example.org"
		refuse("authority", bad)
	}
}

// keys reads a key of the RFC, for signing and for verifying.
func keys(t testing.TB, dir, name string, alg Algorithm) (private, public *Key) {
	t.Helper()
	if alg == HMACSHA256 {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(read(t, dir, name+".base64"))))
		if err != nil {
			t.Fatal(err)
		}
		k, err := SharedKey(name, secret.New(b))
		if err != nil {
			t.Fatal(err)
		}
		return k, k
	}
	s, err := ParsePrivateKey(read(t, dir, name+".private.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePublicKey(read(t, dir, name+".public.pem"))
	if err != nil {
		t.Fatal(err)
	}
	private, err = PrivateKey(name, alg, s)
	if err != nil {
		t.Fatal(err)
	}
	public, err = PublicKey(name, alg, p)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// TestExampleKeys: all five keys of appendix B.1, and every algorithm with them.
func TestExampleKeys(t *testing.T) {
	dir := filepath.Join(conformance(t), "keys")
	for name, algs := range map[string][]Algorithm{
		"test-key-rsa": {RSAV15SHA256, RSAPSSSHA512}, "test-key-rsa-pss": {RSAPSSSHA512},
		"test-key-ecc-p256": {ECDSAP256SHA256}, "test-key-ed25519": {Ed25519}, "test-shared-secret": {HMACSHA256},
	} {
		for _, alg := range algs {
			private, public := keys(t, dir, name, alg)
			if !ExampleKey(private) || !ExampleKey(public) {
				t.Errorf("%s is not known as an example", name)
			}
			m := message()
			fields, err := (&Signer{Label: "s", Key: private, Components: parts(t, "@method")}).Sign(&m, Params{})
			if err != nil {
				t.Fatal(err)
			}
			m.Fields = append(m.Fields, fields...)
			if _, err := Verify(&m, "s", func(Params) (*Key, error) { return public, nil }, Policy{}, time.Now()); err != nil {
				t.Errorf("%s with %s: %v", name, alg, err)
			}
			for _, other := range []Algorithm{HMACSHA256, Ed25519, ECDSAP256SHA256, ECDSAP384SHA384} {
				if other != alg && alg != HMACSHA256 {
					if _, err := PublicKey(name, other, public.public); !errors.Is(err, ErrKey) {
						t.Errorf("%s taken for %s", name, other)
					}
				}
			}
		}
	}
}

// parseHTTP reads a message as the suite writes it, CRLF line ends.
func parseHTTP(t *testing.T, dir, name string) (Message, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(string(read(t, dir, name)), "\r\n\r\n")
	all := strings.Split(head, "\r\n")
	start := strings.SplitN(all[0], " ", 3)
	var m Message
	if strings.HasPrefix(start[0], "HTTP/") {
		status, err := strconv.Atoi(start[1])
		if err != nil {
			t.Fatal(err)
		}
		m.Status = status
		if b, err := os.ReadFile(filepath.Join(dir, "request.http")); err == nil && len(b) > 0 && name != "request.http" {
			r, _ := parseHTTP(t, dir, "request.http")
			m.Request = &r
		}
	} else {
		m.Method, m.Target = start[0], start[1]
	}
	for _, line := range all[1:] {
		field, value, _ := strings.Cut(line, ":")
		m.Fields = append(m.Fields, Field{field, strings.TrimSpace(value)})
		if strings.EqualFold(field, "host") {
			m.Authority = strings.TrimSpace(value)
		}
	}
	return m, []byte(body)
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
