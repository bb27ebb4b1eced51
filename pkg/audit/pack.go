package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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

// packWindow is how far back the packer looks for what repeats. Lines are alike
// and short, so this finds it all and stays in the processor's cache.
const packWindow = 128 << 10

// pack compresses what in holds, in memory that does not grow with it. The
// frame needs no checksum of its own: the trailer has one.
func pack(out io.Writer, in io.Reader) error {
	sum := sha256.New()
	enc, err := zstd.NewWriter(io.MultiWriter(out, sum), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(packWindow))
	if err != nil {
		return err
	}
	_, err = enc.ReadFrom(in)
	if err := errors.Join(err, enc.Close()); err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint32(make([]byte, 0, trailerSize), trailerMagic)
	trailer = binary.LittleEndian.AppendUint32(trailer, sha256.Size)
	_, err = out.Write(sum.Sum(trailer))
	return err
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
	in, err := os.Open(f.path())
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	packed := f
	packed.packed = true
	if err := writeWhole(packed.path(), sealedMode, func(out io.Writer) error { return pack(out, in) }); err != nil {
		return fmt.Errorf("pack %s: %w", f.path(), err)
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
