package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
)

// pss is id-RSASSA-PSS (RFC 8017 appendix C), which crypto/x509 does not read.
var pss = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}

// pkcs8 is PrivateKeyInfo (RFC 5208 section 5); attributes are not looked at.
type pkcs8 struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

// spki is SubjectPublicKeyInfo (RFC 5280 section 4.1).
type spki struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// ParsePrivateKey reads the first private key of a PEM text: PKCS#8 (also with
// id-RSASSA-PSS), PKCS#1 or SEC 1. The error never holds bytes of the key.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block", ErrKey)
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		var info pkcs8
		if rest, e := asn1.Unmarshal(block.Bytes, &info); e == nil && len(rest) == 0 && info.Algorithm.Algorithm.Equal(pss) {
			key, err = x509.ParsePKCS1PrivateKey(info.Key)
		} else {
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		}
	}
	s, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: PEM block %q holds no private key that can be read", ErrKey, block.Type)
	}
	return s, nil
}

// ParsePublicKey reads the first public key of a PEM text: PKIX (also with
// id-RSASSA-PSS) or PKCS#1.
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block", ErrKey)
	}
	var key any
	var err error
	var info spki
	rest, e := asn1.Unmarshal(block.Bytes, &info)
	switch {
	case block.Type == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case e == nil && len(rest) == 0 && info.Algorithm.Algorithm.Equal(pss):
		key, err = x509.ParsePKCS1PublicKey(info.Key.RightAlign())
	default:
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil || key == nil {
		return nil, fmt.Errorf("%w: PEM block %q holds no public key that can be read", ErrKey, block.Type)
	}
	return key, nil
}

// ExampleKey reports whether k is one of the published keys of RFC 9421 appendix
// B.1. They must not guard anything.
func ExampleKey(k *Key) bool {
	material := k.shared.Reveal()
	if k.alg != HMACSHA256 {
		der, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			return false
		}
		material = der
	}
	sum := sha256.Sum256(material)
	switch hex.EncodeToString(sum[:8]) {
	case "c73eecd318bd3813", "72859cbaf21a0b39", "55f96361b78cbb84", "34571606cb7a0d71", "57ca14d520f889be":
		return true
	}
	return false
}

// Thumbprint is the JWK thumbprint of a public key (RFC 7638, RFC 8037) in
// base64url, which Web Bot Auth uses as the key's id.
func Thumbprint(public crypto.PublicKey) (string, error) {
	enc := base64.RawURLEncoding.EncodeToString
	var jwk map[string]string // marshalled with its names in order, as RFC 7638 wants
	switch p := public.(type) {
	case ed25519.PublicKey:
		jwk = map[string]string{"crv": "Ed25519", "kty": "OKP", "x": enc(p)}
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return "", ErrKey
		}
		n := len(point) / 2
		jwk = map[string]string{"crv": p.Params().Name, "kty": "EC", "x": enc(point[1 : 1+n]), "y": enc(point[1+n:])}
	case *rsa.PublicKey:
		jwk = map[string]string{"e": enc(big.NewInt(int64(p.E)).Bytes()), "kty": "RSA", "n": enc(p.N.Bytes())}
	default:
		return "", ErrKey
	}
	text, err := json.Marshal(jwk)
	if err != nil {
		return "", ErrKey
	}
	sum := sha256.Sum256(text)
	return enc(sum[:]), nil
}

// fromDER turns an ECDSA signature into r and s of the curve's size each (RFC
// 9421 section 3.3.4).
func fromDER(der []byte, public *ecdsa.PublicKey) ([]byte, error) {
	var v struct{ R, S *big.Int }
	n := (public.Params().BitSize + 7) / 8
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) > 0 || v.R.Sign() < 0 || v.S.Sign() < 0 || v.R.BitLen() > 8*n || v.S.BitLen() > 8*n {
		return nil, fmt.Errorf("%w: the signer gave no ECDSA signature", ErrKey)
	}
	out := make([]byte, 2*n)
	v.R.FillBytes(out[:n])
	v.S.FillBytes(out[n:])
	return out, nil
}
