package trust

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names below a store's directory. Copies are called by their contents, so that
// workloads that have one bound never see it change.
const (
	rootName   = "root.pem"
	bundleName = "bundle.pem"
	javaName   = "cacerts"
	bindsName  = "binds.json"
)

// Store is a prepared directory: world-readable and without secrets. It must
// exist for as long as a workload uses it.
type Store struct {
	dir   string
	root  []byte
	binds []bind
}

// bind is one copy and the store it stands over.
type bind struct {
	Source string `json:"source"` // name below the directory
	Target string `json:"target"` // absolute path
}

// Prepare writes copies of this host's trust stores with the root added. dir is
// made if it is not there (0755) and its files are readable by all. The
// environment of the calling process tells which interpreters to look for.
func Prepare(dir string, rootPEM []byte) (*Store, error) {
	return prepare(dir, rootPEM, os.Environ())
}

func prepare(dir string, rootPEM []byte, environ []string) (*Store, error) {
	root := certificates(rootPEM)
	if len(root) == 0 {
		return nil, fmt.Errorf("prepare trust store: %w", ErrNoCertificate)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, root: root}
	places := find(environ)
	bundle := s.system(places)
	if err := s.write(rootName, root); err != nil {
		return nil, err
	}
	if err := s.write(bundleName, bundle); err != nil {
		return nil, err
	}
	if err := s.keystore(places, bundle); err != nil {
		return nil, err
	}
	if err := s.copyAll(places, bundle); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s.binds)
	if err != nil {
		return nil, err
	}
	return s, s.write(bindsName, b)
}

// Open returns a store that Prepare has written, for the process that mounts it.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	var err error
	if s.root, err = os.ReadFile(s.path(rootName)); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(s.path(bindsName))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &s.binds); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(bindsName), err)
	}
	return s, nil
}

// Dir is the directory of the store.
func (s *Store) Dir() string { return s.dir }

// Bundle is the path of the system's roots and ours in PEM.
func (s *Store) Bundle() string { return s.path(bundleName) }

// Keystore is the path of the system's Java keystore with our root in it. Its
// password is "changeit".
func (s *Store) Keystore() string { return s.path(javaName) }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// system is the first bundle that can be read, with our root: what a workload
// gets where it has no store of its own.
func (s *Store) system(places []place) []byte {
	for _, p := range places {
		if p.kind != kindPEM {
			continue
		}
		if b, err := readPEM(p.path); err == nil && len(b) > 0 {
			return s.with(b)
		}
	}
	return s.root
}

func (s *Store) with(b []byte) []byte {
	return certificates(append(bytes.Clone(b), s.root...))
}

// keystore writes the Java store that is not bound anywhere: the first that
// this host has, or one made of the bundle.
func (s *Store) keystore(places []place, bundle []byte) error {
	var original []byte
	for _, p := range places {
		if p.kind != kindJava {
			continue
		}
		if b, err := readFile(p.path); err == nil {
			original = b
			break
		}
	}
	b, err := addToKeystore(original, bundle, s.root)
	if err != nil {
		return err
	}
	return s.write(javaName, b)
}

// copyAll makes the copies to bind. A store that we cannot read is left alone:
// what its reader cannot verify it refuses.
func (s *Store) copyAll(places []place, bundle []byte) error {
	for _, p := range places {
		b, err := s.copyOf(p, bundle)
		if err != nil {
			continue
		}
		name, err := s.file(b, p.kind)
		if err != nil {
			return err
		}
		s.binds = append(s.binds, bind{Source: name, Target: p.path})
	}
	return nil
}

func (s *Store) copyOf(p place, bundle []byte) ([]byte, error) {
	if p.kind == kindPEM {
		b, err := readPEM(p.path)
		return s.with(b), err
	}
	b, err := readFile(p.path)
	if err != nil {
		return nil, err
	}
	return addToKeystore(b, bundle, s.root)
}

// file writes b under the name of its contents, unless it is there already.
func (s *Store) file(b []byte, k kind) (string, error) {
	suffix := map[kind]string{kindPEM: ".pem", kindJava: ".jks"}[k]
	sum := sha256.Sum256(b)
	name := hex.EncodeToString(sum[:8]) + suffix
	if there, err := os.ReadFile(s.path(name)); err == nil && bytes.Equal(there, b) {
		return name, nil
	}
	return name, s.write(name, b)
}

// write puts a file in place as a whole, readable by all whatever the umask.
func (s *Store) write(name string, b []byte) error {
	temp := s.path("." + name + "." + rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = f.Chmod(0o644)
	if err == nil {
		_, err = f.Write(b)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, s.path(name))
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// makeDir makes dir, or takes one that nobody else can write to.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	const othersWrite = 0o022
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&othersWrite != 0 {
		return fmt.Errorf("trust store %s is not a directory that we alone can write to", dir)
	}
	return os.Chmod(dir, 0o755)
}
