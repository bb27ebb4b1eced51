package trust

import (
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// maxStore bounds a store that is read; the largest in the wild are below 1 MiB.
const maxStore = 16 << 20

// ErrNoCertificate is returned for a root that is no PEM certificate.
var ErrNoCertificate = errors.New("no certificate in PEM")

// certificates returns the certificate blocks in b without repetition, as PEM.
// OpenSSL's TRUSTED CERTIFICATE stays what it is. All else is left out.
func certificates(b []byte) []byte {
	var out []byte
	seen := make(map[string]bool)
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return out
		}
		if !isCertificate(block.Type) || seen[string(block.Bytes)] {
			continue
		}
		seen[string(block.Bytes)] = true
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
}

func isCertificate(kind string) bool {
	return kind == "CERTIFICATE" || kind == "X509 CERTIFICATE" || kind == "TRUSTED CERTIFICATE"
}

// readPEM returns the certificates of a bundle, or of all files in a directory.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		b, err := readFile(path)
		return certificates(b), err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, e := range entries {
		if b, err := readFile(filepath.Join(path, e.Name())); err == nil && len(all) < maxStore {
			all = append(append(all, b...), '\n')
		}
	}
	return certificates(all), nil
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxStore))
}
