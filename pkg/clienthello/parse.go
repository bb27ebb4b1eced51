package clienthello

import (
	"errors"
	"net/netip"
)

// ErrIncomplete says that the ClientHello goes on behind the bytes given.
var ErrIncomplete = errors.New("clienthello: more bytes wanted")

const (
	// MaxHello is the size of the largest ClientHello, its four bytes of
	// header included.
	MaxHello = 64 << 10
	// MaxRecords is the number of records that it may be spread over: enough
	// for one byte in each, as a test suite does, of an ordinary ClientHello.
	MaxRecords = 4096
	// MaxSize is what Parse looks at, at most: record headers included. More is
	// malformed.
	MaxSize = MaxHello + MaxRecords*recordHeader

	recordHeader  = 5
	maxRecord     = 1 << 14 // RFC 8446 section 5.1
	typeHandshake = 22
	msgHello      = 1
	msgHeader     = 4
)

// Hello is what a ClientHello says about where it wants to go.
type Hello struct {
	// ServerName is the host name as the client wrote it, without the root's dot; empty
	// if it sent none.
	ServerName string
	// Dotted: it had that dot, as Node, Ruby and Python's http.client send it. Many
	// servers take it for the name without; crypto/tls refuses it.
	Dotted bool
	// Address is what the client sent in place of a name, as PHP and Ruby do; the zero
	// Addr if it did not. IPv4-mapped addresses are IPv4.
	Address netip.Addr
	// ALPN lists the protocols offered, in the client's order, without GREASE.
	ALPN []string
	// Versions lists the versions offered, without GREASE. A client that sends
	// no supported_versions extension offers the one of its legacy_version.
	Versions []uint16
	// Shares lists the groups that the client has sent a key share of, in its
	// order, without GREASE.
	Shares []uint16
	// ECH: an encrypted ClientHello, or GREASE for one, is inside.
	ECH bool
	// Resumes: the client offers a session to resume (a non-empty ticket or a PSK).
	Resumes bool
}

// Error says why bytes are no acceptable ClientHello.
type Error struct {
	// Alert is the TLS alert that fits (RFC 8446 section 6.2).
	Alert uint8
	// Detail is a short phrase from a fixed set.
	Detail string
}

// Error returns the detail.
func (e *Error) Error() string { return "clienthello: " + e.Detail }

// The alerts of RFC 8446 section 6.
const (
	alertUnexpectedMessage = 10
	alertRecordOverflow    = 22
	alertIllegalParameter  = 47
	alertDecodeError       = 50
	alertUnrecognizedName  = 112
)

var (
	errRecord    = &Error{alertUnexpectedMessage, "not a TLS handshake record"}
	errLength    = &Error{alertRecordOverflow, "record longer than TLS allows"}
	errEmpty     = &Error{alertUnexpectedMessage, "empty handshake record"}
	errMessage   = &Error{alertUnexpectedMessage, "not a ClientHello"}
	errTooLarge  = &Error{alertDecodeError, "ClientHello too large"}
	errTrailing  = &Error{alertUnexpectedMessage, "bytes behind the ClientHello in its record"}
	errMalformed = &Error{alertDecodeError, "malformed ClientHello"}
	errTwice     = &Error{alertIllegalParameter, "extension sent twice"}
	errName      = &Error{alertUnrecognizedName, "server name is not a host name"}
)

// IsTLS reports whether b, which may be short, begins like a TLS connection: a
// handshake record of version 3.x with a ClientHello. It is false for no bytes.
func IsTLS(b []byte) bool {
	if len(b) == 0 || b[0] != typeHandshake {
		return false
	}
	return len(b) < 2 || b[1] == 3
}

// Parse reads the ClientHello at the start of a TCP stream. It returns
// ErrIncomplete if b ends before the message does, and an *Error if b cannot
// become an acceptable one. It does not keep b.
func Parse(b []byte) (Hello, error) {
	msg, err := message(b)
	if err != nil {
		return Hello{}, err
	}
	h, bad := parseHello(msg)
	if bad != nil {
		return Hello{}, bad
	}
	return h, nil
}

// message returns the body of the handshake message at the start of b. One in
// a single record aliases b; one in several is put together.
func message(b []byte) ([]byte, error) {
	whole, err := measure(b)
	if err != nil {
		return nil, err
	}
	first := int(b[3])<<8 | int(b[4])
	if first >= whole {
		return b[recordHeader+msgHeader : recordHeader+whole], nil
	}
	msg := make([]byte, 0, whole)
	for len(msg) < whole {
		n := int(b[3])<<8 | int(b[4])
		msg = append(msg, b[recordHeader:recordHeader+n]...)
		b = b[recordHeader+n:]
	}
	return msg[msgHeader:], nil
}

// measure walks over the records at the start of b until they hold a whole
// handshake message, and returns that message's length, header included. No
// byte is copied, so that each further byte of a slow client costs one walk
// over the record headers.
func measure(b []byte) (int, error) {
	var head [msgHeader]byte
	have, whole := 0, msgHeader
	for records := 0; ; records++ {
		n, bad := record(b)
		if bad != nil {
			return 0, bad
		}
		if n < 0 {
			return 0, ErrIncomplete
		}
		if records == MaxRecords {
			return 0, errTooLarge
		}
		payload := b[recordHeader:min(len(b), recordHeader+n)]
		if have < msgHeader {
			got := copy(head[have:], payload)
			if whole, bad = messageLength(head[:have+got]); bad != nil {
				return 0, bad
			}
		}
		have += len(payload)
		if have >= msgHeader && have+n-len(payload) > whole {
			return 0, errTrailing
		}
		if len(payload) < n {
			return 0, ErrIncomplete
		}
		if have >= msgHeader && have == whole {
			return whole, nil
		}
		b = b[recordHeader+n:]
	}
}

// record reads the record header at the start of b and returns the length of
// its payload, -1 if bytes are missing.
func record(b []byte) (int, *Error) {
	if len(b) > 0 && b[0] != typeHandshake || len(b) > 1 && b[1] != 3 {
		return 0, errRecord
	}
	if len(b) < recordHeader {
		return -1, nil
	}
	n := int(b[3])<<8 | int(b[4])
	if n > maxRecord {
		return 0, errLength
	}
	if n == 0 {
		return 0, errEmpty
	}
	return n, nil
}

// messageLength reads the header of a handshake message, as far as it is known,
// and returns the length of the message with it.
func messageLength(head []byte) (int, *Error) {
	if len(head) > 0 && head[0] != msgHello {
		return 0, errMessage
	}
	if len(head) < msgHeader {
		return msgHeader, nil
	}
	n := msgHeader + (int(head[1])<<16 | int(head[2])<<8 | int(head[3]))
	if n > MaxHello {
		return 0, errTooLarge
	}
	return n, nil
}
