package trust

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// file writes b under the name of its contents, unless it is there already.
func (s *Store) file(b []byte, k kind) (string, error) {
	suffix := map[kind]string{kindPEM: ".pem", kindJava: ".jks"}[k]
	return s.keep(contentName(b)+suffix, b)
}

// namedPrefix begins the names of copies that a variable names: a workload reads these
// whenever it likes, so they are never swept.
const namedPrefix = "named-"

func (s *Store) keep(name string, b []byte) (string, error) {
	if there, err := os.ReadFile(s.path(name)); err == nil && bytes.Equal(there, b) {
		return name, nil
	}
	return name, s.write(name, b)
}

// contentDigits is how long the name of contents is.
const contentDigits = 16

func contentName(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:contentDigits]
}

// isCopy reports whether a file is one to bind: it has the name of its contents.
func isCopy(name string) bool {
	digits, suffix, _ := strings.Cut(name, ".")
	_, err := hex.DecodeString(digits)
	return err == nil && len(digits) == contentDigits && (suffix == "pem" || suffix == "jks")
}

// sweep removes the copies that are bound no more: neither s nor the list before it,
// which somebody may be about to mount, has them. Where one is mounted it stays.
func (s *Store) sweep(before []bind) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		has := func(b bind) bool { return b.Source == e.Name() }
		if !isCopy(e.Name()) || slices.ContainsFunc(s.binds, has) || slices.ContainsFunc(before, has) {
			continue
		}
		if err := os.Remove(s.path(e.Name())); err != nil {
			return err
		}
	}
	return nil
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
