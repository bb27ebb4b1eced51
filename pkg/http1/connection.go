package http1

import (
	"bytes"
	"math"
)

// maxOptions bounds the work of Hop: every field is compared with every option.
const maxOptions = 32

// option cuts the first element off a comma-separated list. It is empty for
// the empty elements that a recipient must accept (RFC 9110 section 5.6.1).
func option(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}

// noteConnection reads one Connection line.
func (f *fields) noteConnection(list []byte) *Error {
	f.seen |= seenConnection
	for len(list) > 0 {
		var o []byte
		if o, list = option(list); len(o) == 0 {
			continue
		}
		bit := optionBit(o)
		if bit == optOther && !ValidName(o) {
			return errConnection
		}
		if f.options++; f.options > maxOptions {
			return errManyOptions
		}
		if bit == optOther && framesOrRoutes(o) {
			return errConnectionOf
		}
		f.seen |= bit
	}
	return nil
}

func optionBit(o []byte) seen {
	switch {
	case NameIs(o, "close"):
		return optClose
	case NameIs(o, "keep-alive"):
		return optKeepAlive
	case NameIs(o, "upgrade"):
		return optUpgrade
	case NameIs(o, "te"):
		return optTE
	}
	return optOther
}

// framesOrRoutes names the fields without which a message changes its meaning.
// Connection must not name a field that is meant for every recipient
// (RFC 9110 section 7.6.1): who obeys would forward another message.
func framesOrRoutes(name []byte) bool {
	return NameIs(name, "host") || NameIs(name, "content-length") || NameIs(name, "transfer-encoding") ||
		NameIs(name, "content-type") || NameIs(name, "content-encoding") || NameIs(name, "trailer")
}

// hop is what may stay of the fields that belong to one connection.
type hop struct {
	close, upgrade, te bool
}

// stays reports whether an option does no harm on the next connection.
func (h hop) stays(bit seen) bool {
	switch bit {
	case optClose:
		return h.close
	case optUpgrade:
		return h.upgrade
	case optTE:
		return h.te
	}
	return bit == optKeepAlive
}

// lineStays reports whether all options of one Connection line stay, and which
// it has.
func (h hop) lineStays(list []byte) (bool, seen) {
	ok, has := true, seen(0)
	for len(list) > 0 {
		var o []byte
		if o, list = option(list); len(o) == 0 {
			continue
		}
		bit := optionBit(o)
		has |= bit
		ok = ok && h.stays(bit)
	}
	return ok, has
}

// clean reports whether nothing has to be dropped, from the notes alone.
func (h hop) clean(s seen) bool {
	return s&(optOther|seenHop) == 0 &&
		(s&optClose == 0 || h.close) &&
		(s&(optUpgrade|seenUpgrade) == 0 || h.upgrade) &&
		(s&(optTE|seenTE) == 0 || h.te)
}

// apply marks in e what has to go, and adds again the options that a dropped
// line had and that are needed.
func (h hop) apply(f *fields, e *Edit) {
	if h.clean(f.seen) {
		return
	}
	var lost seen
	for i := range f.list {
		l := &f.list[i]
		if NameIs(l.Name, "connection") {
			ok, has := h.lineStays(l.Value)
			if !ok {
				e.Drop.Add(i)
				lost |= has
			}
			continue
		}
		if h.drops(f, l.Name) {
			e.Drop.Add(i)
		}
	}
	if h.upgrade && lost&optUpgrade != 0 {
		e.Add = append(e.Add, "Connection: Upgrade\r\n"...)
	}
	if h.te && lost&optTE != 0 {
		e.Add = append(e.Add, "Connection: TE\r\n"...)
	}
	if h.close && lost&optClose != 0 {
		e.Add = append(e.Add, "Connection: close\r\n"...)
	}
}

// drops reports whether a field other than Connection belongs to this
// connection alone.
func (h hop) drops(f *fields, name []byte) bool {
	switch {
	case NameIs(name, "upgrade"):
		return !h.upgrade
	case NameIs(name, "te"):
		return !h.te
	case NameIs(name, "keep-alive"), NameIs(name, "proxy-connection"):
		return true
	}
	return f.seen&optOther != 0 && f.named(name)
}

// rest is the timeout that Keep-Alive announces (RFC 2068 section 19.7.1.1), -1 without
// one that can be read.
func (f *fields) rest() int {
	for list := f.patience; len(list) > 0; {
		var o []byte
		o, list = option(list)
		name, value, _ := bytes.Cut(o, []byte("="))
		if n, ok := parseLength(trim(value)); ok && n <= math.MaxInt32 && NameIs(trim(name), "timeout") {
			return int(n)
		}
	}
	return -1
}

// named reports whether a Connection line names the field.
func (f *fields) named(name []byte) bool {
	for i := range f.list {
		if !NameIs(f.list[i].Name, "connection") {
			continue
		}
		for list := f.list[i].Value; len(list) > 0; {
			var o []byte
			if o, list = option(list); len(o) > 0 && equalFold(o, name) {
				return true
			}
		}
	}
	return false
}
