package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
)

// Shared is what many records say alike, encoded once: see [Share]. It never
// changes, and serves any number of records at once.
type Shared struct {
	process, common object
	reference       []byte // what stands in a line; empty: nothing is shared
}

// Share encodes what records say alike that one process makes to one API: the
// Process, Guest, Original, SNI, Host, Route, Decision, Credentials, Upstream and
// EgressIP of r.
func Share(r *Record) *Shared {
	const usual = 1 << 10
	s := &Shared{process: object{json: make([]byte, 0, usual)}, common: object{json: make([]byte, 0, usual)}}
	s.fill(r)
	return s
}

// Share lets what was encoded before stand for those fields of r; nil: the
// fields themselves count.
func (r *Record) Share(s *Shared) { r.shared = s }

func (s *Shared) fill(r *Record) {
	s.process.json, s.reference = s.process.json[:0], s.reference[:0]
	b := s.common.json[:0]
	if r.Process != nil {
		s.process.json = appendJSON(s.process.json, r.Process.JSON())
		s.process.hash()
		b = appendReference(b, `,"process":"`, s.process.sum)
	}
	if b = appendCommon(b, r); len(b) == 0 {
		s.common.json, s.common.sum = b, Digest{}
		return
	}
	b[0] = '{' // for the comma
	s.common.json = append(b, '}')
	s.common.hash()
	s.reference = appendReference(s.reference, commonKey, s.common.sum)
}

// objects gives what there is, a process in front of what refers to it.
func (s *Shared) objects() (all [2]*object) {
	if len(s.process.json) > 0 {
		all[0] = &s.process
	}
	if len(s.common.json) > 0 {
		all[1] = &s.common
	}
	return all
}

// object is a JSON object that many lines have in common: a process, or what
// records say alike. A segment holds it once, on a line of its own in front of the
// first record that refers to it. What refers to it has its SHA-256 in its place.
type object struct {
	sum  Digest // of json
	json []byte // empty: there is none
}

func (o *object) hash() { o.sum = sha256.Sum256(o.json) }

const (
	objectKey  = `{"object":`
	objectEnd  = "}\n"
	commonKey  = `,"common":"`  // in a record
	processKey = `{"process":"` // begins a common object
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

func appendReference(b []byte, key string, sum Digest) []byte {
	return append(hex.AppendEncode(append(b, key...), sum[:]), '"')
}

var (
	errNoObject    = errors.New("changed: it refers to an object that is not there")
	errAloneObject = errors.New("changed: the object in front of it is not its own")
)

// objects are those of one segment, by SHA-256, as its lines are passed.
type objects struct {
	held  map[Digest][]byte
	fresh []Digest // since the last record
	wrong bool     // one of the fresh was held before, or stands in front of its process
}

// add takes the object of a line.
func (o *objects) add(json []byte) {
	if o.held == nil {
		o.held = map[Digest][]byte{}
	}
	sum := Digest(sha256.Sum256(json))
	process, refers := processOf(json)
	o.wrong = o.wrong || o.held[sum] != nil || refers && o.held[process] == nil
	o.held[sum] = json
	o.fresh = append(o.fresh, sum)
}

// parse reads a record's line and holds it against the objects.
func (o *objects) parse(line []byte) (link, error) {
	l, err := parseLink(line)
	if err == nil {
		err = o.settle(line)
	}
	o.fresh, o.wrong = o.fresh[:0], false
	return l, err
}

// settle makes sure that every object that a record refers to is there, and that
// those in front of it are new and its own: none can be put in or taken out.
func (o *objects) settle(line []byte) error {
	own := 0
	sum, _, ok := commonOf(line)
	for ok {
		json := o.held[sum]
		if json == nil {
			return errNoObject
		}
		if slices.Contains(o.fresh, sum) {
			own++
		}
		sum, ok = processOf(json)
	}
	if o.wrong || own != len(o.fresh) {
		return errAloneObject
	}
	return nil
}

// commonOf finds what a record's line refers to, and where. The reference is
// unmistakable: in a JSON string every quote is escaped.
func commonOf(line []byte) (sum Digest, at int, ok bool) {
	at = bytes.Index(line, []byte(commonKey))
	if at < 0 {
		return Digest{}, 0, false
	}
	sum, ok = parseReference(line[at+len(commonKey):])
	return sum, at, ok
}

// processOf gives what a common object refers to.
func processOf(json []byte) (Digest, bool) {
	rest, ok := bytes.CutPrefix(json, []byte(processKey))
	if !ok {
		return Digest{}, false
	}
	return parseReference(rest)
}

// parseReference reads 64 hex digits and a quote.
func parseReference(b []byte) (sum Digest, ok bool) {
	if len(b) <= hexLen || b[hexLen] != '"' {
		return Digest{}, false
	}
	_, err := hex.Decode(sum[:], b[:hexLen])
	return sum, err == nil
}

// expand gives the line as a record is shown: with what it refers to in it.
func (o *objects) expand(line []byte) ([]byte, error) {
	sum, at, ok := commonOf(line)
	if !ok {
		return bytes.Clone(line), nil
	}
	common := o.held[sum]
	if common == nil {
		return nil, errNoObject
	}
	if sum, ok := processOf(common); ok {
		process := o.held[sum]
		if process == nil {
			return nil, errNoObject
		}
		common = slices.Concat([]byte(processKey[:len(processKey)-1]), process, common[len(processKey)+hexLen+1:])
	}
	own := slices.Concat(line[:at], line[at+len(commonKey)+hexLen+1:])
	return mergeMembers(own, common), nil
}
