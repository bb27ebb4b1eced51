package http1

// maxTrailerName is how much of a trailer's name is compared. No field that is
// forbidden in a trailer has a longer name; of the denied ones that have, the
// first bytes decide.
const maxTrailerName = 64

// trailer takes one byte behind the last chunk: field lines, then an empty line.
func (b *Body) trailer(c byte) *Error {
	if b.size++; b.size > MaxHead {
		return errTrailersLarge
	}
	if b.tail != nil {
		*b.tail = append(*b.tail, c)
	}
	switch b.state {
	case stateTrailer:
		return b.trailerStart(c)
	case stateTrailerName:
		return b.trailerName(c)
	case stateTrailerValue:
		if c == '\r' {
			b.state = stateTrailerLF
		} else if class[c]&isValue == 0 {
			return errTrailer
		}
		return nil
	case stateTrailerLF:
		return b.expect(c, '\n', stateTrailer, errTrailer)
	default: // stateEndLF
		return b.expect(c, '\n', stateDone, errTrailer)
	}
}

func (b *Body) trailerStart(c byte) *Error {
	if c == '\r' {
		b.state = stateEndLF
		return nil
	}
	if b.fields++; b.fields > MaxFields {
		return errTrailersLarge
	}
	b.state, b.nameLen = stateTrailerName, 0
	if c == ':' {
		return errTrailer
	}
	return b.trailerName(c)
}

func (b *Body) trailerName(c byte) *Error {
	if c == ':' {
		b.state = stateTrailerValue
		return b.checkTrailer()
	}
	if class[c]&isToken == 0 {
		return errTrailer
	}
	if b.nameLen < len(b.name) {
		b.name[b.nameLen] = lower(c)
	}
	b.nameLen++
	return nil
}

func (b *Body) checkTrailer() *Error {
	if b.nameLen > len(b.name) {
		if b.deny != nil {
			return errTrailerField
		}
		return nil
	}
	name := b.name[:b.nameLen]
	if ForbiddenTrailer(name) || b.deny != nil && b.deny(name) {
		return errTrailerField
	}
	return nil
}

// ForbiddenTrailer reports whether the field, whose name is in lower case, frames a
// message, routes it or authenticates somebody (RFC 9110 section 6.5.1). A recipient
// that merges trailers into the head would take it at its word after policy has
// looked.
func ForbiddenTrailer[T string | []byte](lowerName T) bool {
	switch string(lowerName) {
	case "content-length", "transfer-encoding", "content-encoding", "content-type", "content-range",
		"trailer", "te", "connection", "keep-alive", "proxy-connection", "upgrade", "expect",
		"host", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "max-forwards",
		"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "cookie", "set-cookie":
		return true
	}
	return false
}
