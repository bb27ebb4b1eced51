package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// errNoDigest is given for a file whose digest would say nothing or cost too much.
var errNoDigest = errors.New("file is not to be digested")

// errUnread is that a file is so large that nobody waits for its digest.
var errUnread = errors.New("file is still being digested")

// digests remembers SHA-256 by file identity. The file of a running program
// cannot be written (ETXTBSY), so the digest holds while the identity does.
type digests struct {
	maxSize int64 // larger files get no digest
	limit   int   // entries

	mu       sync.Mutex
	known    map[fileID]string
	readings map[fileID]*reading
}

func newDigests(limit int, maxSize int64) *digests {
	return &digests{maxSize: maxSize, limit: limit, known: make(map[fileID]string), readings: make(map[fileID]*reading)}
}

// lookup returns a digest computed before, or "".
func (c *digests) lookup(id fileID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id]
}

// reading is a digest that is being computed.
type reading struct {
	done chan struct{} // closed when the others are set
	sum  string
	err  error
}

// What is done for those who are in a hurry.
const (
	soon     = 50 * time.Millisecond // that they wait for a file that they are the first to ask for
	mostSoon = 4                     // files that are read at the same time
)

// of returns the digest of the file that open opens, computing it once for
// callers that come at the same time. The file must be id, before and after. Who is in
// a hurry gets errUnread for a large one, which is read on for the next.
func (c *digests) of(id fileID, open func() (*os.File, error), hurry bool) (string, error) {
	r, sum, err := c.begin(id, open, hurry)
	if r == nil {
		return sum, err
	}
	if !hurry {
		<-r.done
		return r.sum, r.err
	}
	late := time.NewTimer(soon)
	defer late.Stop()
	select {
	case <-r.done:
		return r.sum, r.err
	case <-late.C:
		return "", errUnread
	}
}

// begin has a file read, unless its digest is known. One that is being read already is
// not waited for in a hurry: those who ask for it may be many.
func (c *digests) begin(id fileID, open func() (*os.File, error), hurry bool) (r *reading, sum string, err error) {
	if r, sum, err = c.begun(id, hurry); r != nil || sum != "" || err != nil {
		return r, sum, err
	}
	f, err := open() // which may take any time, so nobody is kept from the others
	if err != nil {
		return nil, "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, busy := c.readings[id]; busy {
		return r, "", f.Close()
	}
	r = &reading{done: make(chan struct{})}
	c.readings[id] = r
	go c.read(id, f, r)
	return r, "", nil
}

func (c *digests) begun(id fileID, hurry bool) (r *reading, sum string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sum, ok := c.known[id]; ok {
		return nil, sum, nil
	}
	r, busy := c.readings[id]
	if hurry && (busy || len(c.readings) >= mostSoon) {
		return nil, "", errUnread
	}
	return r, "", nil
}

func (c *digests) read(id fileID, f *os.File, r *reading) {
	defer f.Close()
	defer close(r.done)
	r.sum, r.err = digest(f, id, c.maxSize)
	if r.err == nil {
		c.store(id, r.sum)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.readings, id)
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
