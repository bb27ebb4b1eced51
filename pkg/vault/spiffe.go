package vault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
)

// SVID is what of a workload's identity a SPIFFE source yields.
type SVID string

// What the Workload API gives.
const (
	X509   SVID = "x509"   // certificate chain and private key, PEM: good for both cert and key of mtls
	Bundle SVID = "bundle" // the roots of our trust domain, PEM
	JWT    SVID = "jwt"    // a token for an audience
)

// ErrNoSVID is returned where the agent has no identity for us, or not that one.
var ErrNoSVID = errors.New("the agent gave no such identity")

// SPIFFE is an identity of ours from a SPIFFE Workload API, asked for over its unix
// socket. The agent decides who we are by looking at this process. It is asked
// again well before what it gave ends, and every half minute, so that a rotation
// shows.
type SPIFFE struct {
	Socket   string // absolute path
	Kind     SVID
	ID       string // spiffe://...; "": the first that the agent gives
	Audience string // of JWT

	mu    sync.Mutex
	value secret.Value
	until time.Time // value is good for us
}

// recheck is how often the agent is asked at least.
const recheck = 30 * time.Second

// Fetch returns what the agent gave last, or asks it.
func (s *SPIFFE) Fetch(ctx context.Context) (secret.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.until) {
		return s.value, nil
	}
	value, ends, err := s.ask(ctx)
	switch {
	case err != nil:
		return secret.Value{}, fmt.Errorf("workload API at %s: %w", s.Socket, err)
	case !ends.After(now):
		return secret.Value{}, fmt.Errorf("workload API at %s: what the agent gave ended at %s", s.Socket, ends.UTC().Format(time.RFC3339))
	}
	s.value, s.until = value, now.Add(min(recheck, ends.Sub(now)/3))
	return value, nil
}

func (s *SPIFFE) ask(ctx context.Context) (value secret.Value, ends time.Time, err error) {
	if s.Kind == JWT {
		return s.askToken(ctx)
	}
	answer, err := call(ctx, s.Socket, "/SpiffeWorkloadAPI/FetchX509SVID", nil)
	if err != nil {
		return value, ends, err
	}
	defer clear(answer)
	svid, err := s.choose(answer)
	if err != nil {
		return value, ends, err
	}
	chain, err := x509.ParseCertificates(svid[2])
	if err != nil || len(chain) == 0 {
		return value, ends, fmt.Errorf("certificate of the SVID: %w", errors.Join(errProto, err))
	}
	if s.Kind == Bundle {
		return s.bundle(svid[4], chain[0].NotAfter)
	}
	var b bytes.Buffer
	defer func() { clear(b.Bytes()) }()
	for _, c := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // into memory
	}
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: svid[3]})
	return secret.New(b.Bytes()), chain[0].NotAfter, nil
}

func (s *SPIFFE) bundle(der []byte, ends time.Time) (secret.Value, time.Time, error) {
	roots, err := x509.ParseCertificates(der)
	if err != nil || len(roots) == 0 {
		return secret.Value{}, ends, fmt.Errorf("bundle of the SVID: %w", errors.Join(errProto, err))
	}
	var b bytes.Buffer
	for _, c := range roots {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // into memory
	}
	return secret.New(b.Bytes()), ends, nil
}

// choose finds our SVID among those that the agent gave: the fields of it by their
// numbers (spiffe_id, x509_svid, x509_svid_key, bundle; or spiffe_id, svid).
func (s *SPIFFE) choose(answer []byte) (svid [8][]byte, err error) {
	found := false
	err = fields(answer, func(number uint64, one []byte) {
		if number != 1 || found {
			return
		}
		var f [8][]byte
		bad := fields(one, func(number uint64, value []byte) {
			if number < uint64(len(f)) {
				f[number] = value
			}
		})
		if bad == nil && (s.ID == "" || string(f[1]) == s.ID) {
			svid, found = f, true
		}
	})
	if err == nil && !found {
		err = ErrNoSVID
	}
	return svid, err
}

func (s *SPIFFE) askToken(ctx context.Context) (value secret.Value, ends time.Time, err error) {
	request := appendField(appendField(nil, 1, s.Audience), 2, s.ID)
	answer, err := call(ctx, s.Socket, "/SpiffeWorkloadAPI/FetchJWTSVID", request)
	if err != nil {
		return value, ends, err
	}
	defer clear(answer)
	svid, err := s.choose(answer)
	if err != nil {
		return value, ends, err
	}
	ends, err = tokenEnd(string(svid[2]))
	return secret.New(svid[2]), ends, err
}

func appendField(b []byte, number uint64, value string) []byte {
	if value == "" {
		return b
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, number<<3|2), uint64(len(value)))
	return append(b, value...)
}

// tokenEnd reads when a JWT ends. It is not verified: that is for who gets it.
func tokenEnd(token string) (time.Time, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, errProto
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}, errProto
	}
	return time.Unix(int64(claims.Exp), 0), nil
}
