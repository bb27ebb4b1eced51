package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/secret"
)

// MaxSize is the most bytes a secret may have.
const MaxSize = 1 << 20

// File is a secret in a regular file, or behind a symbolic link of ours to one. Only its
// owner may write it, only owner and group may read it, and the owner is root or
// the user of this process.
type File struct{ Path string }

// Fetch reads the file and cuts one line end (LF or CRLF) off its end.
func (f File) Fetch(ctx context.Context) (secret.Value, error) {
	value, _, err := f.FetchStamped(ctx)
	return value, err
}

// FetchStamped is Fetch with the stamp of what was read.
func (f File) FetchStamped(ctx context.Context) (secret.Value, Stamp, error) {
	return fetch(ctx, f.Path, openOurs, private)
}

// Stamp looks at the file without reading it.
func (f File) Stamp() (Stamp, error) { return look(f.Path) }

// Public is a file like File that others may read: it is no secret, but read like
// one. A certificate is such a file. Not everyone may write it, for roots decide who
// is taken for the API.
type Public struct{ Path string }

// Fetch reads the file and cuts one line end (LF or CRLF) off its end.
func (p Public) Fetch(ctx context.Context) (secret.Value, error) {
	value, _, err := p.FetchStamped(ctx)
	return value, err
}

// FetchStamped is Fetch with the stamp of what was read.
func (p Public) FetchStamped(ctx context.Context) (secret.Value, Stamp, error) {
	return fetch(ctx, p.Path, open, public)
}

// Stamp looks at the file without reading it.
func (p Public) Stamp() (Stamp, error) { return look(p.Path) }

// Key is a private key in a file like File. Any user may own it, since helpers that
// fetch keys run as users of their own.
type Key struct{ Path string }

// Fetch reads the file and cuts one line end (LF or CRLF) off its end.
func (k Key) Fetch(ctx context.Context) (secret.Value, error) {
	value, _, err := k.FetchStamped(ctx)
	return value, err
}

// FetchStamped is Fetch with the stamp of what was read.
func (k Key) FetchStamped(ctx context.Context) (secret.Value, Stamp, error) {
	return fetch(ctx, k.Path, open, closed)
}

// Stamp looks at the file without reading it.
func (k Key) Stamp() (Stamp, error) { return look(k.Path) }

func look(path string) (Stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stampOf(&st, time.Now()), nil
}

var errChanging = errors.New("file changes while it is read")

// check refuses a file by who may do what with it.
type check func(path string, st *unix.Stat_t) error

// opener opens a file for reading.
type opener func(path string) (*os.File, error)

// fetch reads a file until nobody changed it meanwhile.
func fetch(ctx context.Context, path string, open opener, allowed check) (secret.Value, Stamp, error) {
	const tries = 5
	for range tries {
		value, stamp, err := read(path, open, allowed)
		if !errors.Is(err, errChanging) {
			return value, stamp, err
		}
		if err := ctx.Err(); err != nil {
			return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", path, errChanging)
}

func read(path string, open opener, allowed check) (secret.Value, Stamp, error) {
	file, err := open(path)
	if err != nil {
		return secret.Value{}, Stamp{}, err
	}
	defer file.Close()
	before, err := inspect(file, allowed)
	if err != nil {
		return secret.Value{}, Stamp{}, err
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	defer clear(content)
	if err != nil {
		return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", path, err)
	}
	if len(content) > MaxSize {
		return secret.Value{}, Stamp{}, fmt.Errorf("%s has over %d bytes: %w", path, MaxSize, ErrTooLarge)
	}
	after, err := inspect(file, allowed)
	if err == nil && !after.same(before) {
		err = errChanging
	}
	return secret.New(trim(content)), before, err
}

// inspect refuses what must not be read, and stamps what may.
func inspect(file *os.File, allowed check) (Stamp, error) {
	path := file.Name()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Stamp{}, fmt.Errorf("%s is not a regular file", path)
	}
	return stampOf(&st, time.Now()), allowed(path, &st)
}

// private wants a file that nobody but its owner may write, nobody but owner and
// group may read, and that belongs to root or to us.
func private(path string, st *unix.Stat_t) error {
	const groupWrites, others = 0o020, 0o007
	switch mode := st.Mode & 0o7777; {
	case mode&(groupWrites|others) != 0:
		return fmt.Errorf("%s has mode %04o: %w (try: chmod 0600 %s)", path, mode, ErrExposed, path)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d: %w (try: chown root %s)", path, st.Uid, ErrExposed, path)
	}
	return nil
}

// closed wants a file that nobody but its owner and group may read or write.
func closed(path string, st *unix.Stat_t) error {
	if mode := st.Mode & 0o7777; mode&0o007 != 0 {
		return fmt.Errorf("%s has mode %04o: %w (try: chmod o= %s)", path, mode, ErrExposed, path)
	}
	return nil
}

// public wants a file that not everyone may write.
func public(path string, st *unix.Stat_t) error {
	if mode := st.Mode & 0o7777; mode&0o002 != 0 {
		return fmt.Errorf("%s has mode %04o: %w (try: chmod o-w %s)", path, mode, ErrOpen, path)
	}
	return nil
}

// trim cuts exactly one line end off.
func trim(b []byte) []byte {
	b, cut := bytes.CutSuffix(b, []byte("\n"))
	if cut {
		b = bytes.TrimSuffix(b, []byte("\r"))
	}
	return b
}

// SystemdCredential is a secret that the service manager hands over
// (LoadCredential= and its like, systemd.exec(5)): a file of that name in
// $CREDENTIALS_DIRECTORY.
type SystemdCredential struct{ Name string }

// ErrNoCredentials is returned where the service manager gave no directory.
var ErrNoCredentials = errors.New("CREDENTIALS_DIRECTORY is not set: the unit has no LoadCredential=")

// Fetch reads the credential as File does.
func (c SystemdCredential) Fetch(ctx context.Context) (secret.Value, error) {
	value, _, err := c.FetchStamped(ctx)
	return value, err
}

// FetchStamped is Fetch with the stamp of what was read.
func (c SystemdCredential) FetchStamped(ctx context.Context) (secret.Value, Stamp, error) {
	f, err := c.file()
	if err != nil {
		return secret.Value{}, Stamp{}, err
	}
	return f.FetchStamped(ctx)
}

// Stamp looks at the credential without reading it.
func (c SystemdCredential) Stamp() (Stamp, error) {
	f, err := c.file()
	if err != nil {
		return Stamp{}, err
	}
	return f.Stamp()
}

func (c SystemdCredential) file() (File, error) {
	if c.Name == "" || c.Name == "." || c.Name == ".." || strings.ContainsAny(c.Name, "/\x00") {
		return File{}, fmt.Errorf("systemd credential %q: not a file name", c.Name)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return File{}, fmt.Errorf("systemd credential %q: %w", c.Name, ErrNoCredentials)
	}
	return File{filepath.Join(dir, c.Name)}, nil
}
