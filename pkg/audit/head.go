package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	headName = "head"
	keyName  = "key"
	keySize  = 32

	headSize  = 4096
	slotSpace = 512 // each slot in a disk sector of its own
	slotSize  = slotMAC + sha256.Size

	// A slot, little endian.
	slotMagic   = 0  // 8 bytes
	slotVersion = 8  // uint64
	slotSeq     = 16 // uint64
	slotSynced  = 24 // uint64
	slotHash    = 32 // 32 bytes
	slotBoot    = 64 // 16 bytes
	slotClean   = 80 // uint64: 1 if the writer closed the trail
	slotMAC     = 88 // HMAC-SHA256 over what stands before it

	headMagic = "outward1"
)

// The slots. Appends write the first two in turn, each after the record itself, so
// a crash tears at most one of the three, and one of the two only where the
// record that it was to name stands whole behind the other's. Every other damage
// was done by someone. The third repeats the newest once the trail is at rest, so
// that from then on not even one record can be taken off the end.
const (
	slotRest = 2
	slots    = 3
)

// tip says how far the trail goes.
type tip struct {
	version uint64 // one more with every slot written
	seq     uint64
	hash    Digest   // of record seq
	synced  uint64   // the last record known to be on disk
	boot    [16]byte // boot of the machine in which this was written
	clean   bool     // the writer closed the trail
}

// keyed computes MACs with the trail's key. It is not for concurrent use.
type keyed struct{ mac hash.Hash }

func newKeyed(key []byte) keyed { return keyed{hmac.New(sha256.New, key)} }

func (k keyed) sum(dst, message []byte) []byte {
	k.mac.Reset()
	_, _ = k.mac.Write(message) // never fails
	return k.mac.Sum(dst)
}

// encode writes a slot into b, MAC last. It does not allocate.
func (t *tip) encode(b []byte, k keyed) {
	copy(b[slotMagic:], headMagic)
	binary.LittleEndian.PutUint64(b[slotVersion:], t.version)
	binary.LittleEndian.PutUint64(b[slotSeq:], t.seq)
	binary.LittleEndian.PutUint64(b[slotSynced:], t.synced)
	copy(b[slotHash:], t.hash[:])
	copy(b[slotBoot:], t.boot[:])
	clean := uint64(0)
	if t.clean {
		clean = 1
	}
	binary.LittleEndian.PutUint64(b[slotClean:], clean)
	k.sum(b[:slotMAC], b[:slotMAC])
}

// decodeTip reads a slot; false means that it is torn or was written by another.
func decodeTip(b []byte, k keyed) (tip, bool) {
	if len(b) < slotSize || string(b[:len(headMagic)]) != headMagic {
		return tip{}, false
	}
	if !hmac.Equal(k.sum(nil, b[:slotMAC]), b[slotMAC:slotSize]) {
		return tip{}, false
	}
	t := tip{
		version: binary.LittleEndian.Uint64(b[slotVersion:]),
		seq:     binary.LittleEndian.Uint64(b[slotSeq:]),
		synced:  binary.LittleEndian.Uint64(b[slotSynced:]),
		hash:    Digest(b[slotHash : slotHash+32]),
		boot:    [16]byte(b[slotBoot : slotBoot+16]),
		clean:   b[slotClean] == 1,
	}
	return t, true
}

// headState is what the head file says.
type headState struct {
	tip
	torn  [slots]bool // not whole
	other bool        // something beside the slots
}

// parseHead picks the newest slot; false means that none is whole.
func parseHead(b []byte, k keyed) (h headState, ok bool) {
	if len(b) != headSize {
		return headState{}, false
	}
	for i := range slots {
		slot := b[i*slotSpace : (i+1)*slotSpace]
		t, whole := decodeTip(slot, k)
		h.torn[i] = !whole
		h.other = h.other || !blank(slot[slotSize:])
		if whole && (!ok || t.version > h.version) {
			h.tip, ok = t, true
		}
	}
	h.other = h.other || !blank(b[slots*slotSpace:])
	return h, ok
}

// damaged reports whether the head is in a state that no crash of the writer
// leaves. next says that one whole record stands behind the one the head names.
func (h *headState) damaged(next bool) bool {
	if h.other {
		return true
	}
	turn := h.torn[0] || h.torn[1]
	switch {
	case h.torn[0] && h.torn[1], turn && h.torn[slotRest]:
		return true
	case turn:
		return !next
	}
	return false // the third slot is written without a record
}

func blank(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// readHead reads the head of a trail; false means that there is none, or none
// that the key vouches for.
func readHead(dir string, k keyed) (headState, bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, headName))
	if errors.Is(err, fs.ErrNotExist) {
		return headState{}, false, nil
	}
	if err != nil {
		return headState{}, false, err
	}
	h, ok := parseHead(b, k)
	return h, ok, nil
}

// readKey reads the key; nil without an error means that there is none.
func readKey(dir string) ([]byte, error) {
	key, err := os.ReadFile(filepath.Join(dir, keyName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("key of the audit trail %s: %d bytes, want %d", dir, len(key), keySize)
	}
	return key, nil
}

func makeKey(dir string) ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, writeBytes(filepath.Join(dir, keyName), key)
}

// bootID names this boot of the machine; zero if the kernel does not say.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	_, _ = hex.Decode(id[:], []byte(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")))
	return id
}

// head is the mapped head file of the one writer.
type head struct {
	file *os.File
	data []byte
	key  keyed
	next int // of the first two slots, the one to write
}

// createHead makes the file whole with every slot saying t, so that a crash
// never leaves one without a head.
func createHead(dir string, t tip, k keyed) error {
	b := make([]byte, headSize)
	for i := range slots {
		t.encode(b[i*slotSpace:], k)
	}
	return writeBytes(filepath.Join(dir, headName), b)
}

func openHead(dir string, k keyed) (*head, error) {
	f, err := os.OpenFile(filepath.Join(dir, headName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, headSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return &head{file: f, data: data, key: k}, nil
}

// put writes one slot of two and leaves the other, which stays whole meanwhile.
func (h *head) put(t *tip) {
	h.write(t, h.next)
	h.next ^= 1
}

// rest writes the third slot.
func (h *head) rest(t *tip) { h.write(t, slotRest) }

func (h *head) write(t *tip, slot int) {
	t.version++
	t.encode(h.data[slot*slotSpace:][:slotSpace], h.key)
}

func (h *head) sync() error { return unix.Fdatasync(int(h.file.Fd())) }

func (h *head) close() error {
	err := unix.Munmap(h.data)
	h.data = nil
	return errors.Join(err, h.file.Close())
}
