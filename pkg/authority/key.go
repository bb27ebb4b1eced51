package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
)

// signer is the root's private key, wherever it lies: an ECDSA key on P-256
// that signs SHA-256 digests and may be used by many at once.
type signer interface {
	crypto.Signer
	public() *ecdsa.PublicKey
	// encode is what authority.pem holds of the key. The caller clears the bytes.
	encode() (*pem.Block, error)
}

// fileKey is a key that lies in authority.pem itself.
type fileKey struct{ *ecdsa.PrivateKey }

func (k fileKey) public() *ecdsa.PublicKey { return &k.PublicKey }

func (k fileKey) encode() (*pem.Block, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.PrivateKey)
	return &pem.Block{Type: pemKey, Bytes: der}, err
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newRootKey makes a key where the options want it.
func newRootKey(o Options) (signer, error) {
	if o.TPM != "" {
		return newTPMKey(o.TPM)
	}
	key, err := newKey()
	return fileKey{key}, err
}

// decodeKey is the inverse of signer.encode. It asks no TPM: attach does.
func decodeKey(b *pem.Block) (signer, error) {
	if b.Type == pemTPMKey {
		return decodeTPMKey(b.Bytes)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	clear(b.Bytes)
	if err != nil {
		return nil, errBadKey
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errKeyKind
	}
	return fileKey{key}, nil
}

// attach makes a key that was read from path usable. A key is never moved: one
// that lay in a file may have been copied, and one in a TPM cannot leave it.
func attach(key signer, path, device string) error {
	k, inTPM := key.(*tpmKey)
	switch {
	case inTPM && device == "":
		return &StateError{path, "the key is in a TPM, and the configuration names none",
			"say which with authority: {tpm: /dev/tpmrm0}; to go back to a key in a file, make a new one: outwarden ca rotate"}
	case inTPM:
		return k.attach(path, device)
	case device != "":
		return &StateError{path, "the key is in this file, and the configuration wants it in a TPM",
			"a key that lay in a file may have been copied, so it is not moved; make a new one in the TPM: outwarden ca rotate"}
	}
	return nil
}
