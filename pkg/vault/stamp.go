package vault

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how old a file's change time must be before its stamp is trusted.
// The kernel stamps files by a clock with steps of up to 10 ms: two writes
// within one step look like one.
const settle = 100 * time.Millisecond

// Stamp identifies one state of a file: which file, its size, and when it was
// last changed. The zero Stamp belongs to no file.
type Stamp struct {
	dev, inode   uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
	settled      bool  // changes after the reading will show
}

func stampOf(st *unix.Stat_t, now time.Time) Stamp {
	s := Stamp{
		dev: st.Dev, inode: st.Ino, size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}
	age := now.Sub(time.Unix(0, s.ctime))
	s.settled = age > settle
	return s
}

// same reports whether both are the same state of the same file.
func (s Stamp) same(o Stamp) bool {
	s.settled, o.settled = false, false
	return s == o
}

// version is the modification time, for people, and a few letters that tell
// apart files of one second.
func (s Stamp) version() string {
	var b [40]byte
	for i, n := range [...]uint64{s.dev, s.inode, uint64(s.size), uint64(s.mtime), uint64(s.ctime)} {
		binary.BigEndian.PutUint64(b[8*i:], n)
	}
	sum := sha256.Sum256(b[:])
	const letters = 6
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:letters])
	return time.Unix(0, s.mtime).UTC().Format("20060102T150405Z") + "-" + id
}
