package authority

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"time"
)

const (
	keyFile   = "authority.pem"
	rootsFile = "roots.pem"
	maxRoots  = 64 // remembered; the oldest are dropped
)

// load reads the authority of a folder, or makes the first one.
func load(f *folder, c constraints, o Options) (root, []*x509.Certificate, error) {
	now := o.Clock()
	known, err := readRoots(f)
	if err != nil {
		return root{}, nil, err
	}
	if err := f.sweep(); err != nil {
		return root{}, nil, err
	}
	r, err := readKey(f)
	switch {
	case err == nil:
	case !errors.Is(err, os.ErrNotExist):
		return root{}, nil, err
	case len(known) > 0:
		return root{}, nil, &StateError{f.name(keyFile), "is missing, but " + rootsFile + " shows that there was an authority",
			"restore it from a backup, or remove " + f.name(rootsFile) + " to begin a new authority that workloads do not know yet"}
	case o.Existing:
		return root{}, nil, ErrNone
	default:
		return create(f, c, o, nil)
	}
	if err := attach(r.key, f.name(keyFile), o.TPM); err != nil {
		return root{}, nil, err
	}
	if r, err = renew(f, r, c, o, now); err != nil {
		return root{}, nil, err
	}
	if !contains(known, r.cert) { // we were stopped between the two writes of create
		known = remembered(known, r.cert)
		err = writeRoots(f, known)
	}
	return r, known, err
}

// create makes a new key and root. known are the roots of the keys before it.
func create(f *folder, c constraints, o Options, known []*x509.Certificate) (root, []*x509.Certificate, error) {
	key, err := newRootKey(o)
	if err != nil {
		return root{}, nil, err
	}
	cert, err := issueRoot(key, c, o.Clock())
	if err != nil {
		return root{}, nil, err
	}
	r := root{key, cert}
	first := len(known) == 0
	known = remembered(known, cert)
	if first { // the key first: roots.pem without a key would be an error
		if err := writeKey(f, r, false); err != nil {
			return root{}, nil, err
		}
		return r, known, writeRoots(f, known)
	}
	if err := writeRoots(f, known); err != nil {
		return root{}, nil, err
	}
	return r, known, writeKey(f, r, true)
}

// renew issues the root again, same key and subject, if it is due.
func renew(f *folder, r root, c constraints, o Options, now time.Time) (root, error) {
	if now.Before(r.cert.NotBefore) {
		return root{}, &StateError{f.name(keyFile), "root is not valid before " + r.cert.NotBefore.Format(time.RFC3339),
			"the clock of this host seems to be behind; set it. If it is right, it was ahead when the root was made: outwarden ca rotate"}
	}
	if now.After(r.cert.NotAfter) && !o.RenewExpired {
		return root{}, &StateError{f.name(keyFile), "root expired at " + r.cert.NotAfter.Format(time.RFC3339),
			"check the clock; if it is right, renew the root (the key stays) or rotate it"}
	}
	if c.same(r.cert) && r.cert.NotAfter.Sub(now) > rootRenew {
		return r, nil
	}
	cert, err := issueRoot(r.key, c, now)
	if err != nil {
		return root{}, err
	}
	next := root{r.key, cert}
	return next, writeKey(f, next, true)
}

func writeKey(f *folder, r root, replace bool) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	defer clear(b)
	return f.write(keyFile, b, replace)
}

func readRoots(f *folder) ([]*x509.Certificate, error) {
	b, err := f.read(rootsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			block = nil
			break
		}
		certs = append(certs, cert)
	}
	if len(bytes.TrimSpace(b)) > 0 || len(certs) == 0 {
		return nil, &StateError{f.name(rootsFile), "is damaged",
			"restore it from a backup; without it certificates of earlier local roots are not recognised"}
	}
	return certs, nil
}

func writeRoots(f *folder, certs []*x509.Certificate) error {
	var b []byte
	for _, c := range certs {
		b = append(b, encodeCert(c)...)
	}
	return f.write(rootsFile, b, true)
}

// remembered adds a root, newest last, one for each key.
func remembered(known []*x509.Certificate, cert *x509.Certificate) []*x509.Certificate {
	out := append(slices.Clone(known), cert)
	return out[max(0, len(out)-maxRoots):]
}

// contains reports whether the key of cert is among known.
func contains(known []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(known, func(k *x509.Certificate) bool {
		return bytes.Equal(k.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo)
	})
}
