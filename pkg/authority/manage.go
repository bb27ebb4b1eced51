package authority

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Info is what the files of an authority tell without its key being used.
type Info struct {
	Root    *x509.Certificate
	PEM     []byte // Root, for trust stores
	KeyFile string // holds the key, or what only its TPM can unwrap
	InTPM   bool
	Earlier int // keys there were before this one
	// Permitted are the domains, each with all below it, and the networks that
	// the root may speak for. nil means any name; an empty list means none.
	Permitted []string
}

// Inspect reads the authority in dir and changes nothing. It needs no TPM.
// Errors: ErrNone, *StateError.
func Inspect(dir string) (Info, error) {
	f, err := openExisting(dir)
	if err != nil {
		return Info{}, err
	}
	defer f.close()
	known, err := readRoots(f)
	if err != nil {
		return Info{}, err
	}
	r, err := readKey(f)
	if errors.Is(err, os.ErrNotExist) && len(known) == 0 {
		return Info{}, ErrNone
	}
	if err != nil {
		return Info{}, err
	}
	_, inTPM := r.key.(*tpmKey)
	return Info{
		Root: r.cert, PEM: encodeCert(r.cert), KeyFile: f.name(keyFile), InTPM: inTPM,
		Earlier: max(0, len(known)-1), Permitted: permittedBy(r.cert),
	}, nil
}

// permittedBy reads the constraints of a root of ours.
func permittedBy(root *x509.Certificate) []string {
	if !root.PermittedDNSDomainsCritical {
		return nil
	}
	out := []string{}
	for _, name := range root.PermittedDNSDomains {
		if name != nobody {
			out = append(out, name)
		}
	}
	for _, n := range root.PermittedIPRanges {
		out = append(out, n.String())
	}
	return out
}

// Rotate replaces key and root of the authority in dir, where no other process
// uses it. Unlike the method it does not need the old key, so it also moves the
// authority into a TPM, or out of one that is lost. Errors: ErrNone, *StateError.
func Rotate(dir string, o Options) (*Authority, error) {
	o = o.withDefaults()
	c, err := parseConstraints(o.Permitted)
	if err != nil {
		return nil, err
	}
	f, err := openExisting(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	known, err := readRoots(f)
	if err != nil {
		return nil, err
	}
	old, err := readKey(f)
	switch {
	case err == nil && !contains(known, old.cert):
		known = remembered(known, old.cert)
	case err == nil || len(known) > 0: // whatever became of the key, its root is known
	case errors.Is(err, os.ErrNotExist):
		return nil, ErrNone
	default:
		return nil, err
	}
	r, known, err := create(f, c, o, known)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, o: o, c: c, rate: newRate(o.MintRate, o.Clock)}
	return a, a.install(r, known)
}

// Remove deletes the authority in dir and dir itself, and returns the paths of
// what it deleted. A key in a TPM goes with them: the TPM keeps nothing of it.
// Files of others stay, and are an error. Where there is no authority it deletes
// nothing. The blocks of a deleted file may outlive it on the medium.
func Remove(dir string) (removed []string, err error) {
	f, err := lockFolder(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.close()
	names, err := f.names()
	if err != nil {
		return nil, err
	}
	for _, name := range ours(names) {
		if err := unix.Unlinkat(f.fd, name, 0); err != nil {
			return removed, &os.PathError{Op: "remove", Path: f.name(name), Err: err}
		}
		removed = append(removed, f.name(name))
	}
	if i := slices.IndexFunc(names, func(n string) bool { return !isOurs(n) }); i >= 0 {
		return removed, &StateError{dir, "holds what is not the authority's: " + names[i], "look at it, and remove the directory yourself"}
	}
	if err := unix.Rmdir(dir); err != nil {
		return removed, &os.PathError{Op: "remove", Path: dir, Err: err}
	}
	return append(removed, dir), syncDir(filepath.Dir(dir))
}

// ours are the files that this package makes, the key first: whoever stops in
// between has lost what matters.
func ours(names []string) []string {
	var out []string
	for _, name := range names {
		if isOurs(name) {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(strings.TrimPrefix(a, "."), strings.TrimPrefix(b, ".")) })
	return out
}

func isOurs(name string) bool { return name == keyFile || name == rootsFile || isTemp(name) }

// isTemp reports whether a file is one that write had not yet put in place.
func isTemp(name string) bool {
	return strings.HasPrefix(name, "."+keyFile+".") || strings.HasPrefix(name, "."+rootsFile+".")
}

// sweep deletes what a write that was cut short has left: it may hold a key.
func (f *folder) sweep() error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isTemp(name) {
			continue
		}
		if err := unix.Unlinkat(f.fd, name, 0); err != nil {
			return &os.PathError{Op: "remove", Path: f.name(name), Err: err}
		}
	}
	return nil
}

// names lists the directory that is open, whatever its path leads to by now.
func (f *folder) names() ([]string, error) {
	fd, err := unix.Openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.path, Err: err}
	}
	d := os.NewFile(uintptr(fd), f.path)
	defer d.Close()
	return d.Readdirnames(-1)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readKey reads authority.pem; a key in a TPM is not attached. os.ErrNotExist if
// there is no such file.
func readKey(f *folder) (root, error) {
	b, err := f.read(keyFile)
	if err != nil {
		return root{}, err
	}
	r, err := decodeRoot(b)
	clear(b)
	if err != nil {
		return root{}, &StateError{f.name(keyFile), err.Error(),
			"restore it from a backup, or remove " + f.path + " to begin a new authority that workloads do not know yet"}
	}
	return r, nil
}
