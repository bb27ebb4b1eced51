package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
)

// Shared is what many records say alike, encoded once: see ShareConnection and
// ShareUpstream. It never changes, and serves any number of records at once.
type Shared struct {
	fields []byte
	object *object // what fields refer to; nil: nothing
}

// ShareConnection encodes what all records of one connection say: the Flow,
// Process, Original and SNI of r.
func ShareConnection(r *Record) *Shared {
	var e encoder
	fields := e.appendConnection(nil, r)
	return &Shared{fields, e.objects[0]}
}

// ShareUpstream encodes what all records of requests over like upstream
// connections say: the Upstream and EgressIP of r.
func ShareUpstream(r *Record) *Shared {
	var e encoder
	fields := e.appendUpstream(nil, r)
	return &Shared{fields, e.objects[1]}
}

// Share lets what was encoded before stand for fields of r. Either may be nil:
// then the fields themselves count.
func (r *Record) Share(connection, upstream *Shared) {
	r.connection, r.upstream = connection, upstream
}

// object is a JSON object that many lines have in common: a process, or an
// upstream connection. A segment holds it once, on a line of its own in front of
// the first record that refers to it. The records have its SHA-256 in its place.
type object struct {
	sum  Digest // of json
	json []byte
}

func (o *object) hash() *object {
	o.sum = sha256.Sum256(o.json)
	return o
}

const (
	objectKey = `{"object":`
	objectEnd = "}\n"
)

// size is how long the object's own line is, with the line end.
func (o *object) size() int { return len(objectKey) + len(o.json) + len(objectEnd) }

// cutObject gives the object if a line is that of one.
func cutObject(line []byte) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(objectKey))
	if !ok {
		return nil, false
	}
	return bytes.CutSuffix(rest, []byte{objectEnd[0]})
}

// References are unmistakable in a line: in a JSON string every quote is escaped.
var referenceKeys = [...][]byte{[]byte(`,"process":"`), []byte(`,"upstream":"`)}

const (
	processKey  = `,"process":`
	upstreamKey = `,"upstream":`
)

func appendReference(b []byte, key string, sum Digest) []byte {
	b = append(append(b, key...), '"')
	return append(hex.AppendEncode(b, sum[:]), '"')
}

var (
	errNoObject    = errors.New("changed: it refers to an object that is not there")
	errAloneObject = errors.New("changed: the object in front of it is not its own")
)

// objects are those of one segment, by SHA-256, as its lines are passed.
type objects struct {
	held  map[Digest][]byte
	fresh []Digest // since the last record
	twice bool     // one of the fresh was held before
}

// add takes the object of a line.
func (o *objects) add(json []byte) {
	if o.held == nil {
		o.held = map[Digest][]byte{}
	}
	sum := Digest(sha256.Sum256(json))
	o.twice = o.twice || o.held[sum] != nil
	o.held[sum] = json
	o.fresh = append(o.fresh, sum)
}

// parse reads a record's line and holds it against the objects.
func (o *objects) parse(line []byte) (link, error) {
	l, err := parseLink(line)
	if err == nil {
		err = o.settle(line)
	}
	o.fresh, o.twice = o.fresh[:0], false
	return l, err
}

// settle makes sure that every object that a record refers to is there, and that
// those in front of it are new and its own: none can be put in or taken out.
func (o *objects) settle(line []byte) error {
	own := 0
	for _, key := range referenceKeys {
		sum, _, ok := findReference(line, key)
		if ok && o.held[sum] == nil {
			return errNoObject
		}
		if ok && slices.Contains(o.fresh, sum) {
			own++
		}
	}
	if o.twice || own != len(o.fresh) {
		return errAloneObject
	}
	return nil
}

// findReference finds a reference and where its value begins, behind the colon.
func findReference(line, key []byte) (sum Digest, at int, ok bool) {
	i := bytes.Index(line, key)
	if i < 0 {
		return Digest{}, 0, false
	}
	at = i + len(key) - 1
	if len(line) < at+referenceLen || line[at+referenceLen-1] != '"' {
		return Digest{}, 0, false
	}
	_, err := hex.Decode(sum[:], line[at+1:at+1+hexLen])
	return sum, at, err == nil
}

const referenceLen = hexLen + 2 // with its quotes

// expand gives the line as a record is shown: with the objects in it.
func (o *objects) expand(line []byte) ([]byte, error) {
	out := make([]byte, 0, 2*len(line))
	for _, key := range referenceKeys {
		sum, at, ok := findReference(line, key)
		if !ok {
			continue
		}
		json := o.held[sum]
		if json == nil {
			return nil, errNoObject
		}
		out = append(append(out, line[:at]...), json...)
		line = line[at+referenceLen:]
	}
	return append(out, line...), nil
}
