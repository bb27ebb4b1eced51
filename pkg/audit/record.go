package audit

import (
	"encoding/hex"
	"time"

	"github.com/outwarden/outwarden/pkg/process"
)

// The kinds of records.
const (
	KindConnection = "connection" // a captured connection in which no request was seen
	KindRequest    = "request"    // the result of a request, once it is over
	KindCredential = "credential" // the intent: written before a credential leaves
	KindProcess    = "process"    // a process came or went
	KindDecision   = "decision"   // a decision that led to no request
	KindGrant      = "grant"      // a permission was given, used up or taken back
	KindAlert      = "alert"      // something a person should look at
	KindCheckpoint = "checkpoint" // a MAC over the chain so far
	KindLoss       = "loss"       // records that are not here, and why
)

// Record is one entry of the trail. What is unknown is zero, and absent from the
// line. The fields stand in the order of the line.
type Record struct {
	Seq         uint64            `json:"seq"`  // 1, 2, 3 ...; set by Append
	Time        time.Time         `json:"time"` // set by Append if zero
	Kind        string            `json:"kind"`
	Flow        string            `json:"flow,omitempty"` // flow.Flow.ID
	Process     *process.Identity `json:"process,omitempty"`
	Guest       string            `json:"guest,omitempty"`    // address of a guest: it has no process here, and the address is all that tells who it is
	Original    *Endpoint         `json:"original,omitempty"` // where the workload meant to go
	SNI         string            `json:"sni,omitempty"`
	Host        string            `json:"host,omitempty"`
	Method      string            `json:"method,omitempty"`
	Path        string            `json:"path,omitempty"` // with a query whose values are redacted
	Route       string            `json:"route,omitempty"`
	Decision    string            `json:"decision,omitempty"` // intercept, passthrough, deny
	Reason      string            `json:"reason,omitempty"`   // a flow.Reason, or one of this package
	Credentials []Credential      `json:"credentials,omitempty"`
	Signature   *Signature        `json:"signature,omitempty"`
	Upstream    *Upstream         `json:"upstream,omitempty"`
	EgressIP    string            `json:"egress_ip,omitempty"`
	Status      int               `json:"status,omitempty"`
	BytesIn     int64             `json:"bytes_in,omitempty"`  // from the upstream
	BytesOut    int64             `json:"bytes_out,omitempty"` // to the upstream
	DurationMS  float64           `json:"duration_ms,omitempty"`
	Scrubbed    []Scrubbed        `json:"scrubbed,omitempty"` // credentials that the response had in it
	Anomaly     *Anomaly          `json:"anomaly,omitempty"`
	Lost        uint64            `json:"lost,omitempty"` // of a loss: how many records
	MAC         Digest            `json:"mac,omitzero"`   // of a checkpoint: over Seq and Prev
	Prev        Digest            `json:"prev"`           // hash of the record before; set by Append
	Hash        Digest            `json:"hash"`           // set by Append

	shared *Shared // in place of fields; see Share
	line   []byte
}

// Endpoint is an address.
type Endpoint struct {
	IP   string `json:"ip"`
	Port uint16 `json:"port,omitempty"`
}

// Credential names a credential that was put on a request, never its value.
type Credential struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Form    string `json:"form,omitempty"` // bearer, basic, header, query, signature
}

// Scrubbed says how often a credential was found in a response.
type Scrubbed struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Signature says how a request was signed.
type Signature struct {
	Scheme    string `json:"scheme"`
	KeyID     string `json:"key_id,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
	Timestamp int64  `json:"timestamp,omitempty"` // seconds since 1970, as signed
}

// Upstream is the connection that carried a request to the API.
type Upstream struct {
	IP         string `json:"ip"`
	Port       uint16 `json:"port,omitempty"`
	TLS        string `json:"tls,omitempty"` // "1.2", "1.3"
	ALPN       string `json:"alpn,omitempty"`
	CertSHA256 Digest `json:"cert_sha256,omitzero"` // of the upstream's leaf
	ClientCert Digest `json:"client_cert,omitzero"` // SHA-256 of the one we presented
}

// Anomaly is how unusual a request was.
type Anomaly struct {
	Score   float64  `json:"score"`
	Reasons []string `json:"reasons,omitempty"`
}

// Line is the record in full, without a line end: as it stands on disk, but with
// the objects in it that stand there once for many records. The caller must not
// change it.
func (r *Record) Line() []byte {
	if r.line != nil {
		return r.line
	}
	var e encoder
	e.encode(r)
	prev, hash := r.Prev.hex(), r.Hash.hex()
	b := append(appendSeq(nil, r.Seq), e.body...)
	b = appendHash(appendPrev(b, &prev), &hash)
	var all objects
	for _, o := range e.shared.objects() {
		if o != nil {
			all.add(o.json)
		}
	}
	line, err := all.expand(b)
	if err != nil { // not so: all that it refers to was added
		return b
	}
	return line
}

// Digest is a SHA-256, in lower-case hex wherever it is text.
type Digest [32]byte

// IsZero reports whether the digest is unknown.
func (d Digest) IsZero() bool { return d == Digest{} }

// String is the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives the digest in hex.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText takes 64 hex digits.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return hex.ErrLength
	}
	_, err := hex.Decode(d[:], text)
	return err
}
