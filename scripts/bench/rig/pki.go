package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"time"
)

// Common names of the roots, by which a proof tells who terminated.
const (
	originRoot = "bench origin root"
	peerRoot   = "bench peer root"
	badRoot    = "bench root that nobody trusts"
)

// issuer is a root that signs leaves.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certificates writes NAME.pem, NAME.key for every leaf and NAME-ca.pem for its
// root. haproxy wants leaf and key in one file: NAME-both.pem.
func (w *world) certificates() error {
	for name, root := range map[string]string{"origin": originRoot, "peer": peerRoot, "bad": badRoot} {
		ca, err := newIssuer(root)
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.path(name+"-ca.pem"), encode("CERTIFICATE", ca.cert.Raw), 0o644); err != nil {
			return err
		}
		cert, key, err := ca.leaf("*.bench.test", "*.new.bench.test")
		if err != nil {
			return err
		}
		for file, content := range map[string][]byte{".pem": cert, ".key": key, "-both.pem": append(cert[:len(cert):len(cert)], key...)} {
			if err := os.WriteFile(w.path(name+file), content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

func newIssuer(name string) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := unsigned(name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &issuer{cert, key}, err
}

func (i *issuer) leaf(names ...string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := unsigned(names[0])
	t.DNSNames, t.KeyUsage = names, x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, i.cert, k.Public(), i.key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw), err
}

func unsigned(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
