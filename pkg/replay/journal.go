package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A journal is two files, one for each generation: a head, then one record for
// each mark. All are little endian and end with a CRC-32C of what stands before.
//
//	head    8 bytes magic, start (ns), floor (ns), number, crc32
//	record  mark (16 bytes), time of acceptance (ns), crc32
//
// A record that is cut off or broken at the end was never acknowledged and goes.
const (
	magic      = "outwrp1\n"
	headSize   = 8 + 8 + 8 + 8 + 4
	recordSize = 16 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal writes generations down.
type journal struct {
	path   string
	sync   bool
	lock   *os.File
	file   *os.File // of the young generation
	size   int64    // of file, whole records alone
	number uint64   // of the young generation; its parity names the file
	failed error
	read   []stored // what was found, young first

	damage error     // why what was found is put aside
	wrote  time.Time // and when it was last written to
}

// stored is one generation as it was read.
type stored struct {
	generation
	floor  time.Time
	latest time.Time
	number uint64
	size   int64 // of the whole records
}

// openJournal reads what is there. fresh: nothing is.
func openJournal(path string, sync bool) (j *journal, fresh bool, err error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %v", ErrJournal, err)
	}
	j = &journal{path: path, sync: sync, lock: lock}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, false, fmt.Errorf("%w: %s is in use", ErrJournal, path)
	}
	if err := j.readAll(); err != nil {
		_ = lock.Close()
		return nil, false, err
	}
	return j, len(j.read) == 0, nil
}

// readAll reads both files and opens the younger for more. If one is damaged both are
// put aside: what they say is not needed where nothing of their time is accepted.
func (j *journal) readAll() error {
	for n := range 2 {
		s, err := readGeneration(j.name(uint64(n)))
		switch {
		case os.IsNotExist(err):
		case errors.Is(err, errDamaged):
			j.damage = fmt.Errorf("%s: %w", j.name(uint64(n)), err)
		case err != nil:
			return fmt.Errorf("%w: %v", ErrJournal, err)
		default:
			j.read = append(j.read, s)
		}
	}
	if j.damage != nil {
		return j.putAside()
	}
	if len(j.read) == 2 && j.read[0].number < j.read[1].number {
		j.read[0], j.read[1] = j.read[1], j.read[0]
	}
	if len(j.read) == 0 {
		return nil
	}
	young := &j.read[0]
	j.number = young.number
	file, err := os.OpenFile(j.name(j.number), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrJournal, err)
	}
	if j.file, j.size = file, young.size; file.Truncate(young.size) != nil {
		return fmt.Errorf("%w: %s can't be cut", ErrJournal, file.Name())
	}
	return nil
}

// putAside keeps damaged files for who wants to look into it, and begins anew.
func (j *journal) putAside() error {
	j.read = nil
	for n := range 2 {
		name := j.name(uint64(n))
		info, err := os.Stat(name)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = os.Rename(name, name+".damaged")
		}
		if err != nil {
			return fmt.Errorf("%w: %v", ErrJournal, err)
		}
		if info.ModTime().After(j.wrote) {
			j.wrote = info.ModTime()
		}
	}
	return nil
}

func (j *journal) name(n uint64) string { return fmt.Sprintf("%s.%d", j.path, n%2) }

// lost reports that the older generation's file is gone, which every journal but
// the very first has.
func (j *journal) lost() bool { return len(j.read) == 1 && j.number > 1 }

// state is what was read.
func (j *journal) state() (young, old generation, floor, latest time.Time) {
	young, floor, latest = j.read[0].generation, j.read[0].floor, j.read[0].latest
	old = newGeneration(young.start)
	if len(j.read) == 2 {
		old = j.read[1].generation
	}
	j.read = nil
	return young, old, floor, latest
}

// begin starts the next generation's file in the place of the oldest one.
func (j *journal) begin(start, floor time.Time) error {
	if j.failed != nil {
		return j.failed
	}
	next := j.number + 1
	file, err := createFile(j.name(next), appendHead(nil, start, floor, next))
	if err != nil {
		return fmt.Errorf("%w: %v", ErrJournal, err)
	}
	if j.file != nil {
		_ = j.file.Close() // every record in it was written by its own call
	}
	j.file, j.number, j.size = file, next, headSize
	return nil
}

// createFile makes a file with content in the place of another, whole or not at all.
func createFile(name string, content []byte) (*os.File, error) {
	temporary := name + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // opened for reading
	return dir.Sync()
}

// append writes marks in one call. Half a record is cut off again, so that the
// next may succeed once there is room; where that fails, or the disk's own
// answer is lost, the journal takes no more.
func (j *journal) append(marks []mark, now time.Time) error {
	if j.failed != nil {
		return j.failed
	}
	var room [2 * recordSize]byte
	b := room[:0]
	for _, k := range marks {
		b = appendRecord(b, k, now)
	}
	if _, err := j.file.Write(b); err != nil {
		wrapped := fmt.Errorf("%w: %v", ErrJournal, err)
		if j.file.Truncate(j.size) != nil {
			j.failed = wrapped
		}
		return wrapped
	}
	j.size += int64(len(b))
	if j.sync {
		if err := j.file.Sync(); err != nil {
			j.failed = fmt.Errorf("%w: %v", ErrJournal, err)
		}
	}
	return j.failed
}

func (j *journal) close() error {
	err := j.lock.Close()
	if j.file != nil {
		err = j.file.Close()
	}
	j.failed = fmt.Errorf("%w: it is closed", ErrJournal)
	return err
}

func appendHead(b []byte, start, floor time.Time, number uint64) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(start.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, nanos(floor))
	b = binary.LittleEndian.AppendUint64(b, number)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendRecord(b []byte, k mark, now time.Time) []byte {
	begin := len(b)
	b = binary.LittleEndian.AppendUint64(append(b, k[:]...), uint64(now.UnixNano()))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[begin:], castagnoli))
}

// nanos is 0 for the zero time.
func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func timeOf(b []byte) time.Time {
	n := binary.LittleEndian.Uint64(b)
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n))
}

func readGeneration(name string) (stored, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return stored{}, err
	}
	return parseGeneration(b)
}

var errDamaged = errors.New("replay journal is damaged")

// parseGeneration reads a file. A broken head is an error, since nobody could
// say what was lost; so is a broken record with others behind it.
func parseGeneration(b []byte) (stored, error) {
	if len(b) < headSize || !bytes.HasPrefix(b, []byte(magic)) || !whole(b[:headSize]) {
		return stored{}, fmt.Errorf("%w: its head is broken", errDamaged)
	}
	s := stored{generation: newGeneration(timeOf(b[8:])), floor: timeOf(b[16:]), number: binary.LittleEndian.Uint64(b[24:]), size: headSize}
	s.latest = s.start
	for rest := b[headSize:]; len(rest) >= recordSize; rest = rest[recordSize:] {
		record := rest[:recordSize]
		if !whole(record) {
			if len(rest) >= 2*recordSize {
				return stored{}, fmt.Errorf("%w: broken record at byte %d", errDamaged, s.size)
			}
			break
		}
		s.seen[mark(record[:16])] = struct{}{}
		if t := timeOf(record[16:]); t.After(s.latest) {
			s.latest = t
		}
		s.size += recordSize
	}
	return s, nil
}

// whole reports whether b ends with the checksum of what stands before.
func whole(b []byte) bool {
	n := len(b) - 4
	return crc32.Checksum(b[:n], castagnoli) == binary.LittleEndian.Uint32(b[n:])
}
