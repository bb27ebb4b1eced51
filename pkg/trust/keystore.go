package trust

import (
	"bytes"
	"crypto/sha1" // the format has no other
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

// storePassword guards a cacerts file against damage, not against readers: it
// is the same everywhere and Java does not ask for it.
const storePassword = "changeit"

// rootAlias names our root in a keystore.
const rootAlias = "outwarden-local-root"

// addToKeystore returns the JKS store in b with the root added. Where b is not
// JKS, or has another password, it holds the certificates of bundle instead.
func addToKeystore(b, bundle, rootPEM []byte) ([]byte, error) {
	ks := keystore.New(keystore.WithOrderedAliases())
	if !intact(b) || ks.Load(bytes.NewReader(b), []byte(storePassword)) != nil {
		ks = keystore.New(keystore.WithOrderedAliases())
		if err := addPEM(&ks, bundle, "system-%d"); err != nil {
			return nil, err
		}
	}
	for _, alias := range ks.Aliases() {
		if !ks.IsTrustedCertificateEntry(alias) { // a private key: the copy is readable by all
			ks.DeleteEntry(alias)
		}
	}
	if err := addPEM(&ks, rootPEM, rootAlias); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := ks.Store(&out, []byte(storePassword)); err != nil {
		return nil, fmt.Errorf("write keystore: %w", err)
	}
	return out.Bytes(), nil
}

// intact checks the digest at the end of a JKS file (SHA-1 of the password in
// UTF-16, a fixed phrase and the contents, as in sun.security.provider). The
// parser believes lengths it reads, so a damaged file must not reach it.
func intact(b []byte) bool {
	end := len(b) - sha1.Size
	if end < 0 {
		return false
	}
	h := sha1.New()
	for _, c := range []byte(storePassword) {
		h.Write([]byte{0, c})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(b[:end])
	return bytes.Equal(h.Sum(nil), b[end:])
}

// addPEM enters certificates under the name; a %d in it counts them. Those that
// Go cannot parse are left out: Java would not take them either.
func addPEM(ks *keystore.KeyStore, b []byte, name string) error {
	for n := 0; ; n++ {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			if n == 0 {
				return ErrNoCertificate
			}
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		alias := name
		if name != rootAlias {
			alias = fmt.Sprintf(name, n)
		}
		entry := keystore.TrustedCertificateEntry{
			CreationTime: cert.NotBefore, // the same input gives the same file
			Certificate:  keystore.Certificate{Type: "X509", Content: cert.Raw},
		}
		if err := ks.SetTrustedCertificateEntry(alias, entry); err != nil {
			return fmt.Errorf("enter %s into keystore: %v", alias, err)
		}
	}
}
