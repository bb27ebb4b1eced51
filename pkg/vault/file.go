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

// File is a secret in a regular file, or behind a symbolic link to one. Only its
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
	const tries = 5
	for range tries {
		value, stamp, err := f.read()
		if !errors.Is(err, errChanging) {
			return value, stamp, err
		}
		if err := ctx.Err(); err != nil {
			return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", f.Path, errChanging)
}

// Stamp looks at the file without reading it.
func (f File) Stamp() (Stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(f.Path, &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	return stampOf(&st, time.Now()), nil
}

var errChanging = errors.New("file changes while it is read")

func (f File) read() (secret.Value, Stamp, error) {
	// Not blocking: a pipe in the file's place would hold us up for ever.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return secret.Value{}, Stamp{}, err
	}
	defer file.Close()
	before, err := f.inspect(file)
	if err != nil {
		return secret.Value{}, Stamp{}, err
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	defer clear(content)
	if err != nil {
		return secret.Value{}, Stamp{}, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if len(content) > MaxSize {
		return secret.Value{}, Stamp{}, fmt.Errorf("%s has over %d bytes: %w", f.Path, MaxSize, ErrTooLarge)
	}
	after, err := f.inspect(file)
	if err == nil && !after.same(before) {
		err = errChanging
	}
	return secret.New(trim(content)), before, err
}

// inspect refuses what is not a secret file, and stamps what is.
func (f File) inspect(file *os.File) (Stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	const groupWrites, others = 0o020, 0o007
	switch mode := st.Mode & 0o7777; {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Stamp{}, fmt.Errorf("%s is not a regular file", f.Path)
	case mode&(groupWrites|others) != 0:
		return Stamp{}, fmt.Errorf("%s has mode %04o: %w (try: chmod 0600 %s)", f.Path, mode, ErrExposed, f.Path)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return Stamp{}, fmt.Errorf("%s belongs to user %d: %w (try: chown root %s)", f.Path, st.Uid, ErrExposed, f.Path)
	}
	return stampOf(&st, time.Now()), nil
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
