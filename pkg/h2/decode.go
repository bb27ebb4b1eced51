package h2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

var errHPACK = errors.New("a field section that is no HPACK")

// decoder reads field sections (RFC 7541). It differs from x/net's in what a
// busy relay meets: origins that write every field as a literal to be indexed,
// again in each response. The table is a ring, so that an entry leaves it without
// moving the others, and a literal that was seen before is neither decoded nor
// allocated again.
type decoder struct {
	emit func(hpack.HeaderField)
	table
	memo *[memoSize]memo // nil until it is needed
}

// memo is one literal: as it was on the wire and as a string.
type memo struct{ wire, text string }

const (
	memoSize = 64
	memoMost = 128 // bytes; longer literals are not kept
)

func newDecoder(emit func(hpack.HeaderField)) *decoder {
	return &decoder{emit: emit, table: table{max: maxTable}}
}

// rest frees what is only of use while the connection is busy.
func (d *decoder) rest() { d.memo = nil }

// decode takes a whole field section. After an error the decoder is of no use.
func (d *decoder) decode(p []byte) error {
	fields := false
	for len(p) > 0 {
		var err error
		switch b := p[0]; {
		case b&0x80 != 0:
			p, err = d.indexed(p)
		case b&0xc0 == 0x40:
			p, err = d.literal(p, 6, true, false)
		case b&0xe0 == 0x20 && fields:
			return errHPACK // only at the beginning: section 4.2
		case b&0xe0 == 0x20:
			if p, err = d.resize(p); err != nil {
				return err
			}
			continue
		default:
			p, err = d.literal(p, 4, false, b&0x10 != 0)
		}
		if err != nil {
			return err
		}
		fields = true
	}
	return nil
}

func (d *decoder) indexed(p []byte) ([]byte, error) {
	i, p, err := integer(p, 7)
	if err != nil {
		return nil, err
	}
	f, ok := d.at(i)
	if !ok {
		return nil, errHPACK
	}
	d.emit(f)
	return p, nil
}

func (d *decoder) resize(p []byte) ([]byte, error) {
	n, p, err := integer(p, 5)
	if err != nil || n > maxTable {
		return nil, errHPACK
	}
	d.limit(n)
	return p, nil
}

func (d *decoder) literal(p []byte, bits uint, index, sensitive bool) ([]byte, error) {
	i, p, err := integer(p, bits)
	if err != nil {
		return nil, err
	}
	f, ok := d.at(i)
	switch {
	case i == 0:
		if f.Name, p, err = d.text(p, true); err != nil {
			return nil, err
		}
	case !ok:
		return nil, errHPACK
	}
	if f.Value, p, err = d.text(p, !sensitive); err != nil {
		return nil, err
	}
	f.Sensitive = sensitive
	if index {
		d.add(f)
	}
	d.emit(f)
	return p, nil
}

// text reads a string literal (section 5.2). One that may not be kept is decoded
// afresh.
func (d *decoder) text(p []byte, keep bool) (string, []byte, error) {
	if len(p) == 0 {
		return "", nil, errHPACK
	}
	huffman := p[0]&0x80 != 0
	n, rest, err := integer(p, 7)
	if err != nil || n > len(rest) {
		return "", nil, errHPACK
	}
	raw := rest[:n]
	if !keep || n > memoMost || n == 0 {
		s, err := plainText(raw, huffman)
		return s, rest[n:], err
	}
	if d.memo == nil {
		d.memo = new([memoSize]memo)
	}
	m := &d.memo[slot(raw)]
	if m.wire == string(raw) && (m.text != m.wire) == huffman {
		return m.text, rest[n:], nil
	}
	s, err := plainText(raw, huffman)
	if err == nil && (s != string(raw)) == huffman {
		*m = memo{string(raw), s}
		if !huffman {
			m.wire = s
		}
	}
	return s, rest[n:], err
}

func plainText(raw []byte, huffman bool) (string, error) {
	if !huffman {
		return string(raw), nil
	}
	s, err := hpack.HuffmanDecodeToString(raw)
	if err != nil {
		return "", errHPACK
	}
	return s, nil
}

// slot spreads literals over the memos by their length and both ends.
func slot(raw []byte) uint {
	n := len(raw)
	h := uint(n)*131 + uint(raw[0])*31 + uint(raw[n/2])*17 + uint(raw[n-1])
	return (h ^ h>>6) % memoSize
}

// integer reads a prefixed integer (section 5.1). Larger ones than anything here
// can mean are an error.
func integer(p []byte, bits uint) (int, []byte, error) {
	if len(p) == 0 {
		return 0, nil, errHPACK
	}
	most := 1<<bits - 1
	n := int(p[0]) & most
	p = p[1:]
	if n < most {
		return n, p, nil
	}
	for shift := uint(0); shift < 28 && len(p) > 0; shift += 7 {
		b := p[0]
		p = p[1:]
		n += int(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, p, nil
		}
	}
	return 0, nil, errHPACK
}
