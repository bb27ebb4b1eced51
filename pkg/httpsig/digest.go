package httpsig

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"github.com/dunglas/httpsfv"
)

// Digest is the value of Content-Digest or Repr-Digest for body, a member for each
// algorithm (RFC 9530 section 2): "sha-256" or "sha-512". Others, and none, are
// refused with ErrDigest.
func Digest(body []byte, algorithms ...string) (string, error) {
	d := httpsfv.NewDictionary()
	for _, algorithm := range algorithms {
		h := newHash(algorithm)
		if h == nil {
			return "", fmt.Errorf("%w: algorithm %q", ErrDigest, algorithm)
		}
		_, _ = h.Write(body)
		d.Add(algorithm, httpsfv.NewItem(h.Sum(nil)))
	}
	if len(algorithms) == 0 {
		return "", fmt.Errorf("%w: no algorithm", ErrDigest)
	}
	return httpsfv.Marshal(d)
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha-256":
		return sha256.New()
	case "sha-512":
		return sha512.New()
	}
	return nil // the registry's others are insecure (RFC 9530 section 5)
}

// Digester compares a body with its digest field as it passes.
type Digester struct {
	sums []hash.Hash
	want [][]byte
}

// NewDigester reads the field's lines. Algorithms that are insecure or unknown
// don't count; ErrDigest if no other is there, or if it can't be read.
func NewDigester(values []string) (*Digester, error) {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return nil, fmt.Errorf("%w: the field is malformed", ErrDigest)
	}
	d := &Digester{}
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, _ := member.(httpsfv.Item)
		sum, ok := item.Value.([]byte)
		if !ok {
			return nil, fmt.Errorf("%w: the field is malformed", ErrDigest)
		}
		if h := newHash(name); h != nil {
			d.sums, d.want = append(d.sums, h), append(d.want, sum)
		}
	}
	if len(d.sums) == 0 {
		return nil, fmt.Errorf("%w: no sha-256 or sha-512", ErrDigest)
	}
	return d, nil
}

// Write takes bytes of the body; it never fails.
func (d *Digester) Write(p []byte) (int, error) {
	for _, h := range d.sums {
		_, _ = h.Write(p)
	}
	return len(p), nil
}

// Check returns ErrDigest unless every digest is that of what was written.
func (d *Digester) Check() error {
	for i, h := range d.sums {
		if !bytes.Equal(h.Sum(nil), d.want[i]) {
			return ErrDigest
		}
	}
	return nil
}

// CheckDigest compares body with the digest field of that name ("content-digest")
// in m; ErrDigest if they differ or there is none.
func CheckDigest(m *Message, name string, body []byte) error {
	d, err := NewDigester(lines(m.Fields, name))
	if err != nil {
		return err
	}
	_, _ = d.Write(body)
	return d.Check()
}
