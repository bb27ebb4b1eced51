package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A packed segment is one zstd frame (RFC 8878) and behind it a skippable frame
// (section 3.1.2) with the SHA-256 of the first: zstd(1) reads over it, and a
// changed bit that would not change what is unpacked shows.

const (
	trailerMagic = 0x184d2a50
	trailerSize  = 8 + sha256.Size
	maxUnpacked  = 4 << 30
)

var errPacked = errors.New("packed segment is damaged")

func pack(data []byte) ([]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	out := enc.EncodeAll(data, make([]byte, 0, len(data)/8))
	sum := sha256.Sum256(out)
	out = binary.LittleEndian.AppendUint32(out, trailerMagic)
	out = binary.LittleEndian.AppendUint32(out, sha256.Size)
	return append(out, sum[:]...), nil
}

func unpack(data []byte) ([]byte, error) {
	if len(data) < trailerSize {
		return nil, errPacked
	}
	frame, trailer := data[:len(data)-trailerSize], data[len(data)-trailerSize:]
	if binary.LittleEndian.Uint32(trailer) != trailerMagic || binary.LittleEndian.Uint32(trailer[4:]) != sha256.Size ||
		sha256.Sum256(frame) != [32]byte(trailer[8:]) {
		return nil, errPacked
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	out, err := dec.DecodeAll(frame, nil)
	if err != nil {
		return nil, errPacked
	}
	return out, nil
}

// packSegment replaces a sealed segment by its packed form.
func packSegment(f segmentFile) error {
	info, err := os.Stat(f.path())
	if err != nil {
		return err
	}
	data, err := os.ReadFile(f.path())
	if err != nil {
		return err
	}
	out, err := pack(bytes.TrimRight(data, "\x00"))
	if err != nil {
		return fmt.Errorf("pack %s: %w", f.path(), err)
	}
	packed := f
	packed.packed = true
	if err := writeWhole(packed.path(), out, sealedMode); err != nil {
		return err
	}
	if err := os.Chtimes(packed.path(), time.Time{}, info.ModTime()); err != nil {
		return err
	}
	return os.Remove(f.path())
}

// seal makes a finished segment read-only. Its modification time becomes that of
// its newest record, so that a search by time can leave it out.
func seal(f segmentFile, newest int64) error {
	if newest > 0 {
		if err := os.Chtimes(f.path(), time.Time{}, time.Unix(0, newest)); err != nil {
			return err
		}
	}
	return os.Chmod(f.path(), sealedMode)
}
