package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files that --init makes in its directory. Keys, token and HMAC key are 0600.
const (
	caCert      = "ca.pem"
	caKey       = "ca-key.pem"
	serverCert  = "server.pem"
	serverKey   = "server-key.pem"
	clientCert  = "client.pem"
	clientKey   = "client-key.pem"
	hmacKey     = "hmac.key"
	bearerToken = "bearer.token"
)

const (
	partnerName = "api.partner.example"
	lifetime    = 365 * 24 * time.Hour
)

// initialise makes a complete set. It fails where a file of it is there already.
func initialise(dir string, names []string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ca, err := newIssuer(dir, now)
	if err != nil {
		return err
	}
	server := template("Partner API", now)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	addNames(server, append([]string{partnerName, "localhost", "127.0.0.1", "::1"}, names...))
	if err := ca.issue(dir, serverCert, serverKey, server); err != nil {
		return err
	}
	client := template("billing-client", now)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if err := ca.issue(dir, clientCert, clientKey, client); err != nil {
		return err
	}
	if err := create(dir, hmacKey, randomLine(), 0o600); err != nil {
		return err
	}
	return create(dir, bearerToken, append([]byte("tok_"), randomLine()...), 0o600)
}

// issuer is the partner's own CA. It signs the server's certificate and those of
// the clients.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(dir string, now time.Time) (*issuer, error) {
	t := template("Partner CA", now)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	self := &issuer{cert: t}
	if err := self.issue(dir, caCert, caKey, t); err != nil {
		return nil, err
	}
	return self, nil
}

// issue makes a key and a certificate for it and writes both. The first that an
// issuer issues is its own.
func (ca *issuer) issue(dir, certFile, keyFile string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if ca.key == nil {
		ca.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", t.Subject.CommonName, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := create(dir, keyFile, block("PRIVATE KEY", pkcs8), 0o600); err != nil {
		return err
	}
	if t == ca.cert {
		if ca.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
	}
	return create(dir, certFile, block("CERTIFICATE", der), 0o644)
}

func template(name string, now time.Time) *x509.Certificate {
	const serialBits = 120
	var serial [serialBits / 8]byte
	_, _ = rand.Read(serial[:]) // never fails
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Partner"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func addNames(t *x509.Certificate, names []string) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
}

func randomLine() []byte {
	var b [sha256.Size]byte
	_, _ = rand.Read(b[:]) // never fails
	return append(hex.AppendEncode(nil, b[:]), '\n')
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func create(dir, name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
