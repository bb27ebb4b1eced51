package clienthello

import (
	"bytes"
	"net/netip"
)

// The extensions that are looked at, by their IANA numbers.
const (
	extServerName = 0      // RFC 6066 section 3
	extALPN       = 16     // RFC 7301 section 3.1
	extTicket     = 35     // RFC 5077 section 3.2
	extPSK        = 41     // RFC 8446 section 4.2.11
	extVersions   = 43     // RFC 8446 section 4.2.1
	extShares     = 51     // RFC 8446 section 4.2.8
	extECH        = 0xfe0d // RFC 9849
)

// parseHello reads the body of a ClientHello (RFC 8446 section 4.1.2).
func parseHello(msg []byte) (Hello, *Error) {
	var h Hello
	c := cursor{b: msg}
	legacy := c.u16()
	c.skip(32)               // random
	session := c.vec8()      // legacy_session_id
	suites := c.vec16()      // cipher_suites
	compressions := c.vec8() // legacy_compression_methods
	if c.bad || len(session) > 32 || len(suites) < 2 || len(suites)%2 != 0 || len(compressions) == 0 {
		return h, errMalformed
	}
	if len(c.b) > 0 {
		extensions := c.vec16()
		if c.bad || len(c.b) > 0 {
			return h, errMalformed
		}
		if bad := h.extensions(extensions); bad != nil {
			return h, bad
		}
	}
	if h.Versions == nil {
		h.Versions = []uint16{legacy}
	}
	return h, nil
}

// extensions reads the list of extensions. One that comes twice is refused for
// all kinds, as two readers would take different ones (RFC 8446 section 4.2).
func (h *Hello) extensions(b []byte) *Error {
	var seen kinds
	for c := (cursor{b: b}); len(c.b) > 0; {
		kind, body := c.u16(), c.vec16()
		if c.bad {
			return errMalformed
		}
		if !seen.add(kind) {
			return errTwice
		}
		if bad := h.extension(kind, body); bad != nil {
			return bad
		}
	}
	return nil
}

// kinds is a set of kinds of extensions. Nearly all have small numbers; a bit for
// each of the others would make the stack of every connection grow.
type kinds struct {
	small uint64
	other map[uint16]struct{}
}

// add reports whether kind is new.
func (k *kinds) add(kind uint16) bool {
	if kind < 64 {
		had := k.small&(1<<kind) != 0
		k.small |= 1 << kind
		return !had
	}
	if k.other == nil {
		k.other = make(map[uint16]struct{})
	}
	had := len(k.other)
	k.other[kind] = struct{}{}
	return len(k.other) > had
}

func (h *Hello) extension(kind uint16, body []byte) (bad *Error) {
	switch kind {
	case extServerName:
		bad = h.serverName(body)
	case extALPN:
		h.ALPN, bad = protocols(body)
	case extVersions:
		h.Versions, bad = versions(body)
	case extShares:
		h.Shares, bad = shares(body)
	case extECH:
		h.ECH = true
	case extTicket:
		h.Resumes = h.Resumes || len(body) > 0
	case extPSK:
		h.Resumes = true
	}
	return bad
}

// serverName reads a ServerNameList. RFC 6066 knows one type of name and allows
// one of each; any other list is malformed. An address and the root's dot are against
// its section 3 too, but clients send them, and servers take them for no name and for
// the name without the dot.
func (h *Hello) serverName(b []byte) *Error {
	c := cursor{b: b}
	list := cursor{b: c.vec16()}
	kind, name := list.u8(), list.vec16()
	if c.bad || list.bad || len(c.b) > 0 || len(list.b) > 0 || kind != 0 || len(name) == 0 {
		return errMalformed
	}
	plain := bytes.TrimSuffix(name, []byte("."))
	if validName(plain) {
		h.ServerName, h.Dotted = string(plain), len(plain) < len(name)
		return nil
	}
	addr, err := netip.ParseAddr(string(name))
	if err != nil || addr.Zone() != "" {
		return errName
	}
	h.Address = addr.Unmap()
	return nil
}

// protocols reads a ProtocolNameList.
func protocols(b []byte) ([]string, *Error) {
	c := cursor{b: b}
	list := cursor{b: c.vec16()}
	if c.bad || len(c.b) > 0 || len(list.b) == 0 {
		return nil, errMalformed
	}
	out := make([]string, 0, 4)
	for len(list.b) > 0 {
		p := list.vec8()
		if list.bad || len(p) == 0 {
			return nil, errMalformed
		}
		if len(p) != 2 || !isGREASE(uint16(p[0])<<8|uint16(p[1])) {
			out = append(out, string(p))
		}
	}
	return out, nil
}

// versions reads supported_versions. The result is not nil.
func versions(b []byte) ([]uint16, *Error) {
	c := cursor{b: b}
	list := cursor{b: c.vec8()}
	if c.bad || len(c.b) > 0 || len(list.b) == 0 || len(list.b)%2 != 0 {
		return nil, errMalformed
	}
	out := make([]uint16, 0, 4)
	for len(list.b) > 0 {
		if v := list.u16(); !isGREASE(v) {
			out = append(out, v)
		}
	}
	return out, nil
}

// shares reads the groups of a KeyShareClientHello, which may be empty: the client
// asks to be told which group it is to be.
func shares(b []byte) ([]uint16, *Error) {
	c := cursor{b: b}
	list := cursor{b: c.vec16()}
	if c.bad || len(c.b) > 0 {
		return nil, errMalformed
	}
	out := make([]uint16, 0, 4)
	for len(list.b) > 0 {
		group, key := list.u16(), list.vec16()
		if len(key) == 0 {
			return nil, errMalformed
		}
		if !isGREASE(group) {
			out = append(out, group)
		}
	}
	return out, nil
}

// isGREASE recognises 0x0a0a, 0x1a1a ... 0xfafa (RFC 8701 section 2).
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// cursor reads the vectors of the TLS presentation language. After a read
// beyond the end it is bad and yields nothing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) skip(n int) []byte {
	if c.bad || len(c.b) < n {
		c.b, c.bad = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() uint8 {
	if b := c.skip(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.skip(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

func (c *cursor) vec8() []byte  { return c.skip(int(c.u8())) }
func (c *cursor) vec16() []byte { return c.skip(int(c.u16())) }
