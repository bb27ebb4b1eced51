package authority

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/outwarden/outwarden/pkg/match"
)

// Options of an Authority.
type Options struct {
	// Permitted are the names that leaves may be minted for, in the grammar of
	// match.ParseHost. nil means any name; an empty list means none.
	Permitted []string
	// RenewExpired lets Open renew a root that has expired instead of refusing.
	RenewExpired bool
	// Existing lets Open be ErrNone instead of making an authority.
	Existing bool
	// TPM is the TPM 2.0 that makes and keeps the root's key: a device such as
	// /dev/tpmrm0, or unix:PATH, the socket of a simulator. "" keeps the key in
	// a file. A key is never moved from one to the other: see Rotate.
	TPM      string
	Leaves   int              // leaves kept in memory; 0 = 16384
	MintRate int              // new leaves a second, half of them for one workload, four times that at once; 0 = 500, with a TPM 20
	Clock    func() time.Time // nil = time.Now
}

// Authority mints leaves. It is safe for concurrent use and needs no Close.
type Authority struct {
	dir  string
	o    Options
	c    constraints
	rate *rate

	issuing sync.Mutex // held while the root is replaced
	now     atomic.Pointer[generation]
}

// generation is all that hangs on one root; Rotate replaces it as a whole.
type generation struct {
	root
	number  uint64
	pem     []byte
	known   []*x509.Certificate
	leafKey *ecdsa.PrivateKey
	leafSKI []byte
	leaves  *leaves
	mints   singleflight.Group

	once     sync.Once
	pattern  *pattern // of leaves, once there was one
	flaw     error    // why there is none
	verdicts verdicts // on certificates that were asked about
}

// Open reads the authority in dir, or makes it on the very first start unless
// Options.Existing. dir is made then. Errors: ErrNone; about the files *StateError.
func Open(dir string, o Options) (*Authority, error) {
	o = o.withDefaults()
	c, err := parseConstraints(o.Permitted)
	if err != nil {
		return nil, err
	}
	open := openFolder
	if o.Existing {
		open = openExisting
	}
	f, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	r, known, err := load(f, c, o)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, o: o, c: c, rate: newRate(o.MintRate, o.Clock)}
	return a, a.install(r, known)
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Leaves == 0 {
		o.Leaves = 16 << 10
	}
	switch {
	case o.MintRate != 0:
	case o.TPM != "": // a signature takes one tens of milliseconds, and it does one at a time
		o.MintRate = 20
	default:
		o.MintRate = 500
	}
	return o
}

// install makes r the root from now on.
func (a *Authority) install(r root, known []*x509.Certificate) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	ski, err := keyID(&key.PublicKey)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(r.cert.RawSubjectPublicKeyInfo)
	a.now.Store(&generation{
		root:    r,
		number:  binary.BigEndian.Uint64(sum[:]),
		pem:     encodeCert(r.cert),
		known:   known,
		leafKey: key,
		leafSKI: ski,
		leaves:  newLeaves(a.o.Leaves),
	})
	return nil
}

// Certificate is CertificateFor without a workload.
func (a *Authority) Certificate(name string) (*tls.Certificate, error) {
	return a.CertificateFor(0, name)
}

// CertificateFor returns a leaf for a server name or an IP address, valid for
// six hours more at least unless the root is about to expire. It comes from
// memory or is minted; callers that ask for one name at once share one. The
// result is shared: the caller must not change it. workload is who is charged
// for a leaf that has to be minted. Errors: ErrName, ErrNotPermitted, ErrBusy,
// ErrExpired.
func (a *Authority) CertificateFor(workload uint64, name string) (*tls.Certificate, error) {
	canonical, err := match.CanonicalHost(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrName, err)
	}
	g, now := a.now.Load(), a.o.Clock()
	if cert := g.leaves.get(canonical, now); cert != nil {
		return cert, nil
	}
	if !a.c.allows(canonical) {
		return nil, fmt.Errorf("%w: %s", ErrNotPermitted, canonical)
	}
	if g, err = a.fresh(g, now); err != nil {
		return nil, err
	}
	v, err, _ := g.mints.Do(canonical, func() (any, error) { return a.mint(g, workload, canonical, now) })
	if err != nil {
		return nil, err
	}
	return v.(*tls.Certificate), nil
}

func (a *Authority) mint(g *generation, workload uint64, name string, now time.Time) (*tls.Certificate, error) {
	if cert := g.leaves.get(name, now); cert != nil {
		return cert, nil // minted while this call waited for its turn
	}
	if !a.rate.take(workload) {
		return nil, ErrBusy
	}
	cert, err := g.mintLeaf(name, now)
	if err != nil {
		return nil, err
	}
	g.leaves.put(name, cert)
	return cert, nil
}

// RootPEM is the root certificate for trust stores. The caller must not change
// the bytes.
func (a *Authority) RootPEM() []byte { return a.now.Load().pem }

// Root is the root certificate.
func (a *Authority) Root() *x509.Certificate { return a.now.Load().cert }

// Generation names the root's key: it is the same after a restart and another
// one after Rotate. Session tickets of one generation are not for another.
func (a *Authority) Generation() uint64 { return a.now.Load().number }
