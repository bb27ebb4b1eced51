package authority

import (
	"crypto/rand"
	"crypto/x509"
	encoding "encoding/asn1"
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// pattern is what all leaves of a generation have in common, as crypto/x509 encodes
// it: they differ in serial, validity and name alone. To put one together from its
// pieces is a small part of the work of having each encoded anew, while a workload
// waits. A test holds the two ways against each other, byte by byte.
type pattern struct {
	algorithm  []byte // of the signature
	issuer     []byte
	subject    []byte // which is empty, and the public key behind it
	extensions []byte // all but the name's
}

var errPattern = errors.New("the pattern of leaves is not what crypto/x509 is known to write")

// newPattern has crypto/x509 write a leaf without a name. What it signs that with
// does not matter, as the signature is not kept: the leaf's own key does, so that
// a TPM need not.
func (g *generation) newPattern() (*pattern, error) {
	t := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		SubjectKeyId:          g.leafSKI,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	issuer := &x509.Certificate{RawSubject: g.cert.RawSubject, SubjectKeyId: g.cert.SubjectKeyId}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, &g.leafKey.PublicKey, g.leafKey)
	if err != nil {
		return nil, err
	}
	p := new(pattern)
	if !p.read(der) {
		return nil, errPattern
	}
	return p, nil
}

var (
	versionTag    = asn1.Tag(0).Constructed().ContextSpecific()
	extensionsTag = asn1.Tag(3).Constructed().ContextSpecific()
)

// read takes a certificate apart (RFC 5280 section 4.1).
func (p *pattern) read(der cryptobyte.String) bool {
	var cert, tbs, subject, key, outer, extensions cryptobyte.String
	ok := der.ReadASN1(&cert, asn1.SEQUENCE) && cert.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipASN1(versionTag) && tbs.SkipASN1(asn1.INTEGER) &&
		tbs.ReadASN1Element((*cryptobyte.String)(&p.algorithm), asn1.SEQUENCE) &&
		tbs.ReadASN1Element((*cryptobyte.String)(&p.issuer), asn1.SEQUENCE) &&
		tbs.SkipASN1(asn1.SEQUENCE) && // validity
		tbs.ReadASN1Element(&subject, asn1.SEQUENCE) && tbs.ReadASN1Element(&key, asn1.SEQUENCE) &&
		tbs.ReadASN1(&outer, extensionsTag) && tbs.Empty() &&
		outer.ReadASN1(&extensions, asn1.SEQUENCE) && outer.Empty()
	p.subject, p.extensions = slices.Concat(subject, key), extensions
	return ok
}

// leaf is what differs from one to the next.
type leaf struct {
	serial     *big.Int
	begin, end time.Time // UTC
	name       string    // canonical
}

// encode is the leaf's part of a certificate that is signed.
func (p *pattern) encode(l *leaf) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(versionTag, func(b *cryptobyte.Builder) { b.AddASN1Int64(2) }) // which is version 3
		b.AddASN1BigInt(l.serial)
		b.AddBytes(p.algorithm)
		b.AddBytes(p.issuer)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, l.begin)
			addTime(b, l.end)
		})
		b.AddBytes(p.subject)
		b.AddASN1(extensionsTag, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(p.extensions)
				addName(b, l.name)
			})
		})
	})
	return b.Bytes()
}

// addTime writes the form that RFC 5280 section 4.1.2.5 wants of the year.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

var subjectAltName = encoding.ObjectIdentifier{2, 5, 29, 17}

// addName writes the extension with the name. It is critical, as the subject is
// empty (RFC 5280 section 4.2.1.6).
func addName(b *cryptobyte.Builder, name string) {
	const dns, ip = asn1.Tag(2), asn1.Tag(7)
	tag, value := dns, []byte(name)
	if addr, err := netip.ParseAddr(name); err == nil {
		tag, value = ip, addr.AsSlice()
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(subjectAltName)
		b.AddASN1Boolean(true)
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tag.ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(value) })
			})
		})
	})
}

// seal puts the signature behind what it is of.
func (p *pattern) seal(tbs, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(p.algorithm)+len(signature)+16))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(p.algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}
