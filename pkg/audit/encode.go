package audit

import (
	"encoding/hex"
	"math"
	"strconv"
)

// A line is built in three steps, because only the middle one can be done before
// the record's place in the chain is known: seq, body, prev and hash. Nothing here
// allocates once the buffer is large enough.

const (
	seqKey  = `{"seq":`
	prevKey = `,"prev":"`
	hashKey = `,"hash":"`

	hexLen  = 2 * len(Digest{})
	prevLen = len(prevKey) + hexLen + 1        // `,"prev":"..."`
	hashLen = len(hashKey) + hexLen + 2        // `,"hash":"..."}`
	maxSeq  = 20                               // digits of a uint64
	around  = len(seqKey) + maxSeq + prevLen + // what a line has besides its body
		hashLen + 1
)

func appendSeq(b []byte, seq uint64) []byte {
	return strconv.AppendUint(append(b, seqKey...), seq, 10)
}

// hexDigest is a digest in hex. A record's hash stands in its own line and in the
// next one, and is turned into hex once for both.
type hexDigest [hexLen]byte

func (d Digest) hex() (h hexDigest) {
	hex.Encode(h[:], d[:])
	return h
}

func appendPrev(b []byte, h *hexDigest) []byte {
	return append(append(append(b, prevKey...), h[:]...), '"')
}

func appendHash(b []byte, h *hexDigest) []byte {
	return append(append(append(b, hashKey...), h[:]...), '"', '}')
}

// encoder encodes records, one after the other.
type encoder struct {
	body   []byte  // every field between seq and prev
	shared *Shared // what body refers to
	own    Shared  // where that was not encoded before
	clock  clock
}

func (e *encoder) encode(r *Record) {
	if e.shared = r.shared; e.shared == nil {
		e.own.fill(r)
		e.shared = &e.own
	}
	b := append(e.body[:0], `,"time":"`...)
	b = e.clock.append(b, r.Time)
	b = append(b, `","kind":`...)
	b = appendString(b, r.Kind)
	b = text(b, `,"flow":`, r.Flow)
	b = append(b, e.shared.reference...)
	b = text(b, `,"method":`, r.Method)
	b = text(b, `,"path":`, r.Path)
	b = text(b, `,"reason":`, r.Reason)
	b = appendSignature(b, r.Signature)
	e.body = appendResult(b, r)
}

// appendCommon appends what records say alike that one process makes to one API.
func appendCommon(b []byte, r *Record) []byte {
	b = text(b, `,"guest":`, r.Guest)
	if r.Original != nil {
		b = address(b, `,"original":{"ip":`, r.Original.IP, r.Original.Port)
		b = append(b, '}')
	}
	b = text(b, `,"sni":`, r.SNI)
	b = text(b, `,"host":`, r.Host)
	b = text(b, `,"route":`, r.Route)
	b = text(b, `,"decision":`, r.Decision)
	b = appendCredentials(b, r.Credentials)
	if r.Upstream != nil {
		b = appendUpstream(append(b, `,"upstream":`...), r.Upstream)
	}
	return text(b, `,"egress_ip":`, r.EgressIP)
}

// appendResult appends what is known of a request only when it is over, and what
// the trail says of itself.
func appendResult(b []byte, r *Record) []byte {
	b = integer(b, `,"status":`, int64(r.Status))
	b = integer(b, `,"bytes_in":`, r.BytesIn)
	b = integer(b, `,"bytes_out":`, r.BytesOut)
	b = milliseconds(b, `,"duration_ms":`, r.DurationMS)
	b = appendScrubbed(b, r.Scrubbed)
	b = appendAnomaly(b, r.Anomaly)
	if r.Lost != 0 {
		b = strconv.AppendUint(append(b, `,"lost":`...), r.Lost, 10)
	}
	return digest(b, `,"mac":"`, r.MAC)
}

func appendCredentials(b []byte, all []Credential) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(b, `,"credentials":[`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		c := &all[i]
		b = appendString(append(b, `{"name":`...), c.Name)
		b = text(b, `,"version":`, c.Version)
		b = text(b, `,"form":`, c.Form)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendSignature(b []byte, s *Signature) []byte {
	if s == nil {
		return b
	}
	b = appendString(append(b, `,"signature":{"scheme":`...), s.Scheme)
	b = text(b, `,"key_id":`, s.KeyID)
	b = text(b, `,"nonce":`, s.Nonce)
	b = integer(b, `,"timestamp":`, s.Timestamp)
	return append(b, '}')
}

func appendUpstream(b []byte, u *Upstream) []byte {
	b = address(b, `{"ip":`, u.IP, u.Port)
	b = text(b, `,"tls":`, u.TLS)
	b = text(b, `,"alpn":`, u.ALPN)
	b = digest(b, `,"cert_sha256":"`, u.CertSHA256)
	b = digest(b, `,"client_cert":"`, u.ClientCert)
	return append(b, '}')
}

func appendScrubbed(b []byte, all []Scrubbed) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(b, `,"scrubbed":[`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), all[i].Name)
		b = strconv.AppendInt(append(b, `,"count":`...), int64(all[i].Count), 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendAnomaly(b []byte, a *Anomaly) []byte {
	if a == nil {
		return b
	}
	score := a.Score
	if math.IsNaN(score) || math.IsInf(score, 0) {
		score = 0
	}
	b = strconv.AppendFloat(append(b, `,"anomaly":{"score":`...), score, 'f', -1, 64)
	for i, reason := range a.Reasons {
		if i == 0 {
			b = append(b, `,"reasons":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, reason)
	}
	if len(a.Reasons) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func text(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, key...), s)
}

func integer(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), n, 10)
}

// milliseconds appends a duration. Most are whole microseconds: those are written
// without a search for the shortest decimal.
func milliseconds(b []byte, key string, f float64) []byte {
	if f == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return b
	}
	b = append(b, key...)
	us := int64(f*1e3 + 0.5)
	if f < 0 || f > 1e9 || float64(us)/1e3 != f {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendInt(b, us/1e3, 10)
	return fraction(b, uint64(us%1e3), 3)
}

// fraction appends n / 10^digits, without zeros at the end.
func fraction(b []byte, n uint64, digits int) []byte {
	if n == 0 {
		return b
	}
	for n%10 == 0 {
		n, digits = n/10, digits-1
	}
	at := len(b) + 1
	b = append(b, ".000000000"[:1+digits]...)
	for i := at + digits - 1; i >= at; i-- {
		b[i], n = byte('0'+n%10), n/10
	}
	return b
}

func digest(b []byte, key string, d Digest) []byte {
	if d.IsZero() {
		return b
	}
	return append(hex.AppendEncode(append(b, key...), d[:]), '"')
}

func address(b []byte, key, ip string, port uint16) []byte {
	b = appendString(append(b, key...), ip)
	return integer(b, `,"port":`, int64(port))
}
