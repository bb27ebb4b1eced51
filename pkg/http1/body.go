package http1

// Body follows the content of one message, framing included, without keeping
// any of it: the bytes that Scan accepts are forwarded as they are. The zero
// value is the end of a message without content.
type Body struct {
	kind  BodyKind
	state state
	left  int64 // bytes that are still to come: of the body, or of the chunk

	digits uint8 // of the chunk size so far
	ext    int   // bytes of extensions of this chunk so far
	size   int   // bytes of trailers so far
	fields int   // trailer fields so far

	name    [maxTrailerName]byte // the trailer name so far, in lower case
	nameLen int                  // its real length, also if it does not fit
	deny    func(name []byte) bool
	tail    *[]byte
}

// Reset makes b ready for a message framed so; length counts only for
// BodyLength.
func (b *Body) Reset(kind BodyKind, length int64) {
	b.kind, b.state, b.left = kind, stateDone, 0
	b.digits, b.ext, b.size, b.fields, b.nameLen, b.deny, b.tail = 0, 0, 0, 0, 0, nil, nil
	switch kind {
	case BodyLength:
		if length > 0 {
			b.state, b.left = stateData, length
		}
	case BodyChunked:
		b.state = stateSizeFirst
	case BodyUntilClose:
		b.state = stateData
	}
}

// Deny makes more fields forbidden as trailers: those that a route injects, in
// whatever spelling owned reports. It gets the name in lower case, and b keeps
// it until the next Reset. A name too long to be asked about is then refused.
func (b *Body) Deny(owned func(name []byte) bool) { b.deny = owned }

// Tail has the trailer section appended to dst, with the empty line behind it, for
// who frames the content anew; until the next Reset.
func (b *Body) Tail(dst *[]byte) { b.tail = dst }

// Done reports whether the body has ended.
func (b *Body) Done() bool { return b.state == stateDone }

// EOF tells b that the connection ended. It returns ErrTruncated if the body
// had not.
func (b *Body) EOF() error {
	if b.kind == BodyUntilClose {
		b.state = stateDone
	}
	if b.state != stateDone {
		return ErrTruncated
	}
	return nil
}

// Scan takes the next bytes of the connection and returns how many of them, n,
// belong to this body, framing included; done says that it ends with them.
// Unless data is nil it gets the content among them, decoded, in slices of p.
// On an error, which is an *Error, the body must not be forwarded to its end
// and the connection cannot be used further; n is what came before the bad
// byte. A body that failed fails again.
func (b *Body) Scan(p []byte, data func([]byte)) (n int, done bool, err error) {
	for n < len(p) && b.state != stateDone {
		if b.state == stateData {
			n += b.content(p[n:], data)
			continue
		}
		if bad := b.step(p[n]); bad != nil {
			b.state = stateFailed
			return n, false, bad
		}
		n++
	}
	return n, b.state == stateDone, nil
}

// content passes payload on and returns its length.
func (b *Body) content(p []byte, data func([]byte)) int {
	if b.kind != BodyUntilClose {
		if int64(len(p)) > b.left {
			p = p[:b.left]
		}
		if b.left -= int64(len(p)); b.left == 0 {
			b.state = stateDone
			if b.kind == BodyChunked {
				b.state = stateDataCR
			}
		}
	}
	if data != nil {
		data(p)
	}
	return len(p)
}
