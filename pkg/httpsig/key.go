package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"

	"github.com/outwarden/outwarden/pkg/secret"
)

// Algorithm is a name of the registry of RFC 9421 section 6.2.
type Algorithm string

// The registered algorithms.
const (
	HMACSHA256      Algorithm = "hmac-sha256"
	Ed25519         Algorithm = "ed25519"
	ECDSAP256SHA256 Algorithm = "ecdsa-p256-sha256"
	ECDSAP384SHA384 Algorithm = "ecdsa-p384-sha384"
	RSAPSSSHA512    Algorithm = "rsa-pss-sha512"
	RSAV15SHA256    Algorithm = "rsa-v1_5-sha256"
)

const minRSABits = 2048

// Key signs or verifies with one algorithm. It may be used by several
// goroutines.
type Key struct {
	id     string
	alg    Algorithm
	shared secret.Value
	signer crypto.Signer // nil: verifies only
	public crypto.PublicKey
}

// SharedKey is a key for hmac-sha256.
func SharedKey(id string, key secret.Value) (*Key, error) {
	if key.IsZero() {
		return nil, fmt.Errorf("%w: no bytes", ErrKey)
	}
	return &Key{id: id, alg: HMACSHA256, shared: key}, nil
}

// PrivateKey is a key that signs and verifies. ErrKey if it does not fit alg or
// is an RSA key under 2048 bits.
func PrivateKey(id string, alg Algorithm, s crypto.Signer) (*Key, error) {
	if s == nil {
		return nil, ErrKey
	}
	k, err := PublicKey(id, alg, s.Public())
	if err != nil {
		return nil, err
	}
	k.signer = s
	return k, nil
}

// PublicKey is a key that verifies.
func PublicKey(id string, alg Algorithm, public crypto.PublicKey) (*Key, error) {
	fits := false
	switch p := public.(type) {
	case ed25519.PublicKey:
		fits = alg == Ed25519 && len(p) == ed25519.PublicKeySize
	case *ecdsa.PublicKey:
		fits = alg == ECDSAP256SHA256 && p.Curve == elliptic.P256() || alg == ECDSAP384SHA384 && p.Curve == elliptic.P384()
	case *rsa.PublicKey:
		fits = (alg == RSAPSSSHA512 || alg == RSAV15SHA256) && p.N.BitLen() >= minRSABits
	}
	if !fits {
		return nil, fmt.Errorf("%w %s", ErrKey, alg)
	}
	return &Key{id: id, alg: alg, public: public}, nil
}

// ID is the key's id.
func (k *Key) ID() string { return k.id }

// Algorithm is the one algorithm that the key is used with.
func (k *Key) Algorithm() Algorithm { return k.alg }

func (k *Key) sign(base []byte) ([]byte, error) {
	if k.alg == HMACSHA256 {
		return k.hmac(base), nil
	}
	if k.signer == nil {
		return nil, fmt.Errorf("%w: it has no private part", ErrKey)
	}
	switch k.alg {
	case Ed25519:
		return k.signer.Sign(rand.Reader, base, crypto.Hash(0))
	case RSAPSSSHA512:
		sum := sha512.Sum512(base)
		return k.signer.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: sha512.Size, Hash: crypto.SHA512})
	case RSAV15SHA256:
		sum := sha256.Sum256(base)
		return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	sum, hash := k.ecdsaSum(base)
	der, err := k.signer.Sign(rand.Reader, sum, hash)
	if err != nil {
		return nil, err
	}
	return fromDER(der, k.public.(*ecdsa.PublicKey))
}

// verify reports whether k made signature over base.
func (k *Key) verify(base, signature []byte) bool {
	switch k.alg {
	case HMACSHA256:
		return hmac.Equal(k.hmac(base), signature)
	case Ed25519:
		return ed25519.Verify(k.public.(ed25519.PublicKey), base, signature)
	case RSAPSSSHA512:
		sum := sha512.Sum512(base)
		o := &rsa.PSSOptions{SaltLength: sha512.Size, Hash: crypto.SHA512}
		return rsa.VerifyPSS(k.public.(*rsa.PublicKey), crypto.SHA512, sum[:], signature, o) == nil
	case RSAV15SHA256:
		sum := sha256.Sum256(base)
		return rsa.VerifyPKCS1v15(k.public.(*rsa.PublicKey), crypto.SHA256, sum[:], signature) == nil
	}
	public := k.public.(*ecdsa.PublicKey)
	n := (public.Params().BitSize + 7) / 8
	if len(signature) != 2*n {
		return false
	}
	sum, _ := k.ecdsaSum(base)
	r, s := new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])
	return ecdsa.Verify(public, sum, r, s)
}

func (k *Key) hmac(base []byte) []byte {
	h := hmac.New(sha256.New, k.shared.Reveal())
	_, _ = h.Write(base)
	return h.Sum(nil)
}

func (k *Key) ecdsaSum(base []byte) ([]byte, crypto.Hash) {
	if k.alg == ECDSAP384SHA384 {
		sum := sha512.Sum384(base)
		return sum[:], crypto.SHA384
	}
	sum := sha256.Sum256(base)
	return sum[:], crypto.SHA256
}

// canonical is signature, or for ECDSA the one of the pair (r,s), (r,-s) whose s
// is small. Both verify, and whoever saw one can make the other.
func (k *Key) canonical(signature []byte) []byte {
	out := append([]byte(nil), signature...)
	public, ok := k.public.(*ecdsa.PublicKey)
	if !ok {
		return out
	}
	n := len(out) / 2
	s := new(big.Int).SetBytes(out[n:])
	if twin := new(big.Int).Sub(public.Params().N, s); twin.Cmp(s) < 0 {
		twin.FillBytes(out[n:])
	}
	return out
}
