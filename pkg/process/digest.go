package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
)

// errNoDigest is given for a file whose digest would say nothing or cost too much.
var errNoDigest = errors.New("file is not to be digested")

// digests remembers SHA-256 by file identity. The file of a running program
// cannot be written (ETXTBSY), so the digest holds while the identity does.
type digests struct {
	maxSize int64 // larger files get no digest
	limit   int   // entries

	mu    sync.Mutex
	known map[fileID]string
	calls singleflight.Group
}

func newDigests(limit int, maxSize int64) *digests {
	return &digests{maxSize: maxSize, limit: limit, known: make(map[fileID]string)}
}

// lookup returns a digest computed before, or "".
func (c *digests) lookup(id fileID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id]
}

// key names the file for singleflight.
func (id fileID) key() string { return fmt.Sprintf("%+v", id) }

// of returns the digest of the file that open opens, computing it once for
// callers that come at the same time. The file must be id, before and after.
func (c *digests) of(id fileID, open func() (*os.File, error)) (string, error) {
	if sum := c.lookup(id); sum != "" {
		return sum, nil
	}
	v, err, _ := c.calls.Do(id.key(), func() (any, error) {
		if sum := c.lookup(id); sum != "" {
			return sum, nil
		}
		f, err := open()
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum, err := digest(f, id, c.maxSize)
		if err == nil {
			c.store(id, sum)
		}
		return sum, err
	})
	if err != nil {
		return "", err
	}
	return v.(string), nil
}

func (c *digests) store(id fileID, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.known {
		if len(c.known) < c.limit {
			break
		}
		delete(c.known, old)
	}
	c.known[id] = sum
}

// digest reads f if it is id, regular, not larger than maxSize and on a file
// system that gives every reader the same bytes (FUSE need not).
func digest(f *os.File, id fileID, maxSize int64) (string, error) {
	if err := mayDigest(f, id, maxSize); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxSize)); err != nil {
		return "", err
	}
	if now, err := statFile(f); err != nil || fileIDOf(&now) != id {
		return "", errNoDigest // changed while it was read
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func mayDigest(f *os.File, id fileID, maxSize int64) error {
	st, err := statFile(f)
	if err != nil {
		return err
	}
	if fileIDOf(&st) != id || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxSize {
		return errNoDigest
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	if uint32(fs.Type) == unix.FUSE_SUPER_MAGIC {
		return errNoDigest
	}
	return nil
}

func statFile(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return st, err
}
