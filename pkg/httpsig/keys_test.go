package httpsig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"testing"

	"github.com/outwarden/outwarden/pkg/secret"
)

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
