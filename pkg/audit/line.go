package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

var (
	errNotRecord = errors.New("not a record")
	errChanged   = errors.New("changed: its hash is not that of its bytes")
)

// link is what chains a line to the others.
type link struct {
	seq        uint64
	prev, hash Digest
}

// parseLink reads a line without its line end and checks its hash. Only the one
// spelling that Append writes is accepted, so that every changed bit shows. With
// errChanged the link is still what the line says of itself.
func parseLink(line []byte) (link, error) {
	tail := len(line) - hashLen
	prev := tail - prevLen
	if prev < len(seqKey) {
		return link{}, errNotRecord
	}
	var l link
	if !parseDigest(&l.hash, line[tail:], hashKey, `"}`) || !parseDigest(&l.prev, line[prev:tail], prevKey, `"`) {
		return link{}, errNotRecord
	}
	var ok bool
	if l.seq, ok = parseSeq(line[:prev]); !ok {
		return link{}, errNotRecord
	}
	if sha256.Sum256(line[:tail]) != l.hash {
		return l, errChanged
	}
	return l, nil
}

// parseDigest reads open, 64 lower-case hex digits and close, and nothing else.
func parseDigest(d *Digest, b []byte, open, closing string) bool {
	if len(b) != len(open)+hexLen+len(closing) || string(b[:len(open)]) != open || string(b[len(open)+hexLen:]) != closing {
		return false
	}
	digits := b[len(open) : len(open)+hexLen]
	if _, err := hex.Decode(d[:], digits); err != nil {
		return false
	}
	var again [hexLen]byte
	hex.Encode(again[:], d[:])
	return string(again[:]) == string(digits)
}

// parseSeq reads the number that a line begins with.
func parseSeq(line []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(seqKey))
	if !ok {
		return 0, false
	}
	comma := bytes.IndexByte(rest[:min(len(rest), maxSeq+1)], ',')
	if comma < 1 || rest[0] == '0' {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(rest[:comma]), 10, 64)
	return seq, err == nil
}

// lineTime reads a line's time without decoding the rest.
func lineTime(line []byte) (time.Time, bool) {
	const key = `,"time":"`
	_, rest, ok := bytes.Cut(line[:min(len(line), 128)], []byte(key))
	if !ok {
		return time.Time{}, false
	}
	value, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(value))
	return t, err == nil
}

// decode reads a line without its line end, and keeps it in full.
func decode(line []byte, o *objects) (Record, error) {
	full, err := o.expand(line)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(full, &r); err != nil {
		return Record{}, errNotRecord
	}
	r.line = full
	return r, nil
}

// cutLine splits the first line off; false means that no whole line is left.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	return bytes.Cut(b, []byte{'\n'})
}

// objectsIn gathers the objects of a segment.
func objectsIn(data []byte) *objects {
	var o objects
	for line, rest, ok := cutLine(data); ok; line, rest, ok = cutLine(rest) {
		if json, ok := cutObject(line); ok {
			o.add(json)
		}
	}
	return &o
}
