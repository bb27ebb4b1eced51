package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	nameDigits = 20
	plainExt   = ".jsonl"
	packedExt  = ".jsonl.zst"

	dirMode    = 0o700
	fileMode   = 0o600
	sealedMode = 0o400
)

// segmentFile is one segment in a trail's directory.
type segmentFile struct {
	dir    string
	first  uint64 // seq of its first record
	packed bool   // compressed
}

func (f segmentFile) name() string {
	if f.packed {
		return segmentName(f.first) + packedExt
	}
	return segmentName(f.first) + plainExt
}

func (f segmentFile) path() string { return filepath.Join(f.dir, f.name()) }

func segmentName(first uint64) string { return fmt.Sprintf("%0*d", nameDigits, first) }

// mayBeSegment keeps us from what only has a segment's name: a directory, a device
// without an end, or a pipe, which would be waited for. A link to a file is one, and
// what is gone by now may have been packed.
func mayBeSegment(dir string, e fs.DirEntry) bool {
	if e.Type().IsRegular() {
		return true
	}
	info, err := os.Stat(filepath.Join(dir, e.Name()))
	return err != nil || info.Mode().IsRegular()
}

// listSegments lists the segments in order. Where a crash left both forms of
// one, the packed form counts: it gets its name only when it is whole.
func listSegments(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []segmentFile
	for _, e := range entries {
		if f, ok := parseSegmentName(e.Name()); ok && mayBeSegment(dir, e) {
			f.dir = dir
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b segmentFile) int {
		if c := cmp.Compare(a.first, b.first); c != 0 {
			return c
		}
		return cmp.Compare(b.name(), a.name()) // packed first
	})
	return slices.CompactFunc(all, func(a, b segmentFile) bool { return a.first == b.first }), nil
}

func parseSegmentName(name string) (segmentFile, bool) {
	digits, packed := strings.CutSuffix(name, packedExt)
	if !packed {
		var ok bool
		if digits, ok = strings.CutSuffix(name, plainExt); !ok {
			return segmentFile{}, false
		}
	}
	if len(digits) != nameDigits {
		return segmentFile{}, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return segmentFile{first: first, packed: packed}, err == nil
}

// makeDir makes the trail's directory, and keeps others out of one that is there.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&^dirMode != 0 {
		return os.Chmod(dir, dirMode)
	}
	return nil
}

// writeWhole puts a file in place whole or not at all, and on disk.
func writeWhole(path string, mode os.FileMode, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeBytes(path string, data []byte) error {
	return writeWhole(path, fileMode, func(out io.Writer) error {
		_, err := out.Write(data)
		return err
	})
}

// noRoom reports whether the disk is full, or what we may have of it.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
