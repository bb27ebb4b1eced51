package authority

import "time"

// Rotate replaces key and root. The root before is remembered for Issued, all
// leaves are minted anew, and workloads that know the old root alone refuse
// what we mint from now on: give them the new one first, or restart them.
func (a *Authority) Rotate() error {
	a.issuing.Lock()
	defer a.issuing.Unlock()
	f, err := openFolder(a.dir)
	if err != nil {
		return err
	}
	defer f.close()
	known, err := readRoots(f)
	if err != nil {
		return err
	}
	if current := a.Root(); !contains(known, current) {
		known = remembered(known, current)
	}
	r, known, err := create(f, a.c, a.o, known)
	if err != nil {
		return err
	}
	return a.install(r, known)
}

// Renew issues the root again if that is due. Minting does so too; this is for who
// gives RootPEM to workloads, which have to have it by then.
func (a *Authority) Renew() error {
	now := a.o.Clock()
	if a.Root().NotAfter.Sub(now) > rootRenew {
		return nil
	}
	return a.reissue(now)
}

// fresh returns g, or its successor if the root of g is due to be issued again.
// A renewal that fails matters only once the root has expired.
func (a *Authority) fresh(g *generation, now time.Time) (*generation, error) {
	if g.cert.NotAfter.Sub(now) > rootRenew {
		return g, nil
	}
	err := a.reissue(now)
	g = a.now.Load()
	if err != nil && now.After(g.cert.NotAfter) {
		return nil, ErrExpired
	}
	return g, nil
}

func (a *Authority) reissue(now time.Time) error {
	a.issuing.Lock()
	defer a.issuing.Unlock()
	g := a.now.Load()
	if g.cert.NotAfter.Sub(now) > rootRenew {
		return nil // done by another caller meanwhile
	}
	f, err := openFolder(a.dir)
	if err != nil {
		return err
	}
	defer f.close()
	if r, err := readKey(f); err == nil && !r.key.public().Equal(g.key.public()) { // a backup, or another's
		return &StateError{f.name(keyFile), "has another key, and the one in use goes on",
			"restart the daemon, which begins with what is there; workloads that run do not know it"}
	}
	o := a.o
	o.RenewExpired = true
	r, err := renew(f, g.root, a.c, o, now)
	if err != nil {
		return err
	}
	return a.install(r, g.known)
}
