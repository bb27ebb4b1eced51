package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	name  string // of the list of binds
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
// environment of the calling process tells which interpreters to look for. What
// was prepared before is taken as it is where nothing has changed.
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
	s := &Store{dir: dir, name: bindsName, root: root}
	places := find(environ)
	from := inputs(root, places)
	if s.resume(from) {
		return s, nil
	}
	return s, s.make(places, from)
}

// make writes everything anew. A store that could not be read is asked for again
// the next time.
func (s *Store) make(places []place, from []string) error {
	s.binds = nil
	before := listed(s.Path())
	bundle := s.system(places)
	if err := s.write(rootName, s.root); err != nil {
		return err
	}
	if err := s.write(bundleName, bundle); err != nil {
		return err
	}
	if err := s.keystore(places, bundle); err != nil {
		return err
	}
	if err := s.copyAll(places, bundle); err != nil {
		return err
	}
	if err := s.list(); err != nil {
		return err
	}
	if err := s.sweep(before); err != nil || len(s.binds) < len(places) {
		return err
	}
	return s.remember(from)
}

// listed reads a list of binds; none, if it cannot be read.
func listed(path string) (binds []bind) {
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &binds) != nil {
		return nil
	}
	return binds
}

// For returns a store that also covers what a workload with this environment
// may read and the caller of Prepare could not know: its JAVA_HOME, its virtual
// environment, the interpreters on its PATH. It may be s itself. It is to be mounted
// before the next Prepare but one.
func (s *Store) For(environ []string) (*Store, error) {
	var more []place
	for _, p := range find(environ) {
		if !slices.ContainsFunc(s.binds, func(b bind) bool { return b.Target == p.path }) {
			more = append(more, p)
		}
	}
	if len(more) == 0 {
		return s, nil
	}
	bundle, err := os.ReadFile(s.Bundle())
	if err != nil {
		return nil, err
	}
	wider := &Store{dir: s.dir, root: s.root, binds: slices.Clone(s.binds)}
	if err := wider.copyAll(more, bundle); err != nil {
		return nil, err
	}
	return wider, wider.list()
}

// list writes the list of binds, under the name of its contents if it is not
// the one that Prepare made.
func (s *Store) list() error {
	b, err := json.Marshal(s.binds)
	if err != nil {
		return err
	}
	if s.name == "" {
		s.name = contentName(b) + ".json"
	}
	return s.write(s.name, b)
}

// Open returns a store by the Path that Prepare or For gave it, or by the
// directory of Prepare. It is for the process that mounts it.
func Open(path string) (*Store, error) {
	s := &Store{dir: path, name: bindsName}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		s.dir, s.name = filepath.Split(path)
	}
	var err error
	if s.root, err = os.ReadFile(s.path(rootName)); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(s.path(s.name))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &s.binds); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(s.name), err)
	}
	return s, nil
}

// Path is what Open takes.
func (s *Store) Path() string { return s.path(s.name) }

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
	b, err := readFile(p.path)
	if err != nil {
		return nil, err
	}
	if !isStore(b, p.kind) {
		return nil, fmt.Errorf("%s: %w", p.path, errNoStore)
	}
	if p.kind == kindPEM {
		return s.with(certificates(b)), nil
	}
	return addToKeystore(b, bundle, s.root)
}

var errNoStore = errors.New("not a trust store")

// isStore keeps a link from leading a copy over something else: who is looked for in
// HOME, or in what a variable names, may have laid it. An empty file is a store.
func isStore(b []byte, k kind) bool {
	if k == kindPEM {
		return len(bytes.TrimSpace(b)) == 0 || len(certificates(b)) > 0
	}
	const pkcs12 = "\x30"
	for _, begins := range []string{"\xfe\xed\xfe\xed", "\xce\xce\xce\xce", pkcs12} {
		if bytes.HasPrefix(b, []byte(begins)) {
			return true
		}
	}
	return len(b) == 0
}
