package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// SigV4 checks AWS signatures in the header, in the query and in the chunks of a
// body.
type SigV4 struct {
	Keys []sigv4.Credentials
	// Region and Service must be those of the signature; "": any.
	Region, Service string
	// Unsigned accepts requests whose signature leaves the body out.
	Unsigned bool
}

var _ Scheme = (*SigV4)(nil)

// Check implements Scheme. Its errors are those of sigv4, ErrKey and ErrUncovered.
func (s *SigV4) Check(r *Request, now time.Time) (Proof, error) {
	request := sigv4.Request{Method: r.Method, Target: r.Target, Fields: []sigv4.Field{{Name: "Host", Value: r.Host}}}
	for _, f := range r.Fields {
		request.Fields = append(request.Fields, sigv4.Field(f))
	}
	a, err := sigv4.Parse(&request)
	if err != nil {
		return Proof{}, err
	}
	key, err := s.key(&a)
	if err != nil {
		return Proof{}, err
	}
	sum := sha256.Sum256(r.Body)
	if err := a.Verify(key, &request, hex.EncodeToString(sum[:]), sigv4.ByService); err != nil {
		return Proof{}, err
	}
	if a.Presigned && now.After(a.Time.Add(a.Expires)) {
		return Proof{}, sigv4.ErrExpired
	}
	if err := s.body(r, &a, key); err != nil {
		return Proof{}, err
	}
	signature, err := hex.DecodeString(a.Signature)
	return Proof{"sigv4", a.AccessKeyID, "", a.Time, []replay.Message{{KeyID: a.AccessKeyID, Signature: signature}}}, err
}

func (s *SigV4) key(a *sigv4.Authorization) (sigv4.Credentials, error) {
	i := slices.IndexFunc(s.Keys, func(c sigv4.Credentials) bool { return c.AccessKeyID == a.AccessKeyID })
	switch {
	case i < 0:
		return sigv4.Credentials{}, ErrKey
	case s.Region != "" && a.Scope.Region != s.Region, s.Service != "" && a.Scope.Service != s.Service:
		return sigv4.Credentials{}, fmt.Errorf("%w: it is for %s in %s", sigv4.ErrMismatch, a.Scope.Service, a.Scope.Region)
	}
	return s.Keys[i], nil
}

// body checks what the signature says of the body in other words than its hash.
func (s *SigV4) body(r *Request, a *sigv4.Authorization, key sigv4.Credentials) error {
	switch a.Payload {
	case sigv4.StreamingPayload, sigv4.StreamingPayloadTrailer:
		return chunks(r, a, key)
	case sigv4.UnsignedPayload, sigv4.StreamingUnsignedTrailer:
		return s.unsigned()
	case "":
		if a.Presigned && sigv4.S3Family(a.Scope.Service) {
			return s.unsigned()
		}
	}
	return nil
}

func (s *SigV4) unsigned() error {
	if s.Unsigned {
		return nil
	}
	return fmt.Errorf("%w: the body is not signed", ErrUncovered)
}

// chunks verifies an aws-chunked body to its end.
func chunks(r *Request, a *sigv4.Authorization, key sigv4.Credentials) error {
	length := int64(-1)
	for _, f := range r.Fields {
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && strings.EqualFold(f.Name, "x-amz-decoded-content-length") {
			length = n
		}
	}
	d, err := sigv4.NewDecoder(io.Discard, a.Chain(key), a.Payload, length)
	if err != nil {
		return err
	}
	if _, err := io.Copy(d, bytes.NewReader(r.Body)); err != nil {
		return err
	}
	return d.Close()
}
