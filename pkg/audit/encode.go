package audit

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"
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

func appendPrev(b []byte, d Digest) []byte {
	return append(hex.AppendEncode(append(b, prevKey...), d[:]), '"')
}

func appendHash(b []byte, d Digest) []byte {
	return append(hex.AppendEncode(append(b, hashKey...), d[:]), '"', '}')
}

// appendBody appends every field between seq and prev.
func appendBody(b []byte, r *Record) []byte {
	b = append(b, `,"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","kind":`...)
	b = appendString(b, r.Kind)
	b = text(b, `,"flow":`, r.Flow)
	if r.Process != nil {
		b = appendJSON(append(b, `,"process":`...), r.Process.JSON())
	}
	if r.Original != nil {
		b = address(b, `,"original":{"ip":`, r.Original.IP, r.Original.Port)
		b = append(b, '}')
	}
	b = text(b, `,"sni":`, r.SNI)
	b = text(b, `,"host":`, r.Host)
	b = text(b, `,"method":`, r.Method)
	b = text(b, `,"path":`, r.Path)
	b = text(b, `,"route":`, r.Route)
	b = text(b, `,"decision":`, r.Decision)
	b = text(b, `,"reason":`, r.Reason)
	b = appendCredentials(b, r.Credentials)
	b = appendSignature(b, r.Signature)
	b = appendUpstream(b, r.Upstream)
	b = text(b, `,"egress_ip":`, r.EgressIP)
	return appendResult(b, r)
}

// appendResult appends what is known of a request only when it is over, and what
// the trail says of itself.
func appendResult(b []byte, r *Record) []byte {
	b = integer(b, `,"status":`, int64(r.Status))
	b = integer(b, `,"bytes_in":`, r.BytesIn)
	b = integer(b, `,"bytes_out":`, r.BytesOut)
	b = number(b, `,"duration_ms":`, r.DurationMS)
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
	if u == nil {
		return b
	}
	b = address(b, `,"upstream":{"ip":`, u.IP, u.Port)
	b = text(b, `,"tls":`, u.TLS)
	b = text(b, `,"alpn":`, u.ALPN)
	b = digest(b, `,"cert_sha256":"`, u.CertSHA256)
	b = digest(b, `,"client_cert":"`, u.ClientCert)
	return append(b, '}')
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

func number(b []byte, key string, f float64) []byte {
	if f == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return b
	}
	return strconv.AppendFloat(append(b, key...), f, 'f', -1, 64)
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
