package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"time"
)

// Lifetimes. What is issued is backdated because clocks in containers, guests
// and on the far side of a suspend disagree.
const (
	rootLife  = 365 * 24 * time.Hour
	rootRenew = 30 * 24 * time.Hour // issued again when less is left
	leafLife  = 24 * time.Hour      // from NotBefore to NotAfter, both included (RFC 5280 section 4.1.2.5)
	leafRenew = 6 * time.Hour       // minted again when less is left
	backdate  = time.Hour

	// A root is backdated further, as it outlasts what is wrong: a clock that took its
	// hardware's local time for UTC is put right only after a first start at boot.
	rootBackdate = 24 * time.Hour
)

// root is a key and its self-signed certificate.
type root struct {
	key  signer
	cert *x509.Certificate
}

// issueRoot signs a root certificate for key. Its subject holds the key's name,
// so two keys never share a subject and one key always has the same.
func issueRoot(key signer, c constraints, now time.Time) (*x509.Certificate, error) {
	ski, err := keyID(key.public())
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{"Outwarden"},
			CommonName:   "Outwarden local authority " + hex.EncodeToString(ski[:4]),
		},
		NotBefore:             now.Add(-rootBackdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(rootLife).UTC().Truncate(time.Second),
		SubjectKeyId:          ski,
		AuthorityKeyId:        ski,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	c.write(t)
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyID is RFC 7093 section 2 method 1: the first 160 bits of SHA-256.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

// newSerial draws 128 random bits; never zero (RFC 5280 section 4.1.2.2).
func newSerial() (*big.Int, error) {
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
		if err != nil || n.Sign() > 0 {
			return n, err
		}
	}
}

const (
	pemKey  = "PRIVATE KEY"
	pemCert = "CERTIFICATE"
)

func encodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw})
}

// encode is the contents of authority.pem.
func (r root) encode() ([]byte, error) {
	block, err := r.key.encode()
	if err != nil {
		return nil, err
	}
	defer clear(block.Bytes)
	return append(pem.EncodeToMemory(block), encodeCert(r.cert)...), nil
}

// Errors of decodeRoot; their text goes into a StateError. None quotes the file.
var (
	errNoKey    = errors.New("holds no private key")
	errBadKey   = errors.New("private key is damaged")
	errKeyKind  = errors.New("private key is not ECDSA P-256")
	errNoCert   = errors.New("holds no root certificate")
	errBadCert  = errors.New("root certificate is damaged")
	errNotCA    = errors.New("certificate is not a root of ours: it must be a self-signed CA with path length 0")
	errMismatch = errors.New("private key and root certificate do not belong together")
	errTrailing = errors.New("has something after the root certificate")
)

// decodeRoot is the inverse of encode and believes nothing.
func decodeRoot(b []byte) (root, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemKey && block.Type != pemTPMKey {
		return root{}, errNoKey
	}
	key, err := decodeKey(block)
	if err != nil {
		return root{}, err
	}
	block, rest = pem.Decode(rest)
	if block == nil || block.Type != pemCert {
		return root{}, errNoCert
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return root{}, errBadCert
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return root{}, errTrailing
	}
	if !key.public().Equal(cert.PublicKey) {
		return root{}, errMismatch
	}
	if !cert.IsCA || !cert.MaxPathLenZero || cert.CheckSignatureFrom(cert) != nil {
		return root{}, errNotCA
	}
	return root{key, cert}, nil
}
