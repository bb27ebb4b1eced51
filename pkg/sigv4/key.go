package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	algorithm4A = "AWS4-ECDSA-P256-SHA256"
	timeFormat  = "20060102T150405Z"
	dayFormat   = "20060102"
	terminator  = "aws4_request"
)

var (
	// ErrSigV4A is returned for a request signed with SigV4A, which is not supported.
	ErrSigV4A = errors.New("signature is SigV4A (AWS4-ECDSA-P256-SHA256), which is not supported")
	// ErrAlgorithm is returned for a signature of any other unknown kind, SigV2 among them.
	ErrAlgorithm = errors.New("signature algorithm is not AWS4-HMAC-SHA256")
	// ErrUnsigned is returned for a request without a signature.
	ErrUnsigned = errors.New("request has no AWS signature")
	// ErrMalformed is returned for a signature or a request that breaks the format.
	ErrMalformed = errors.New("AWS signature is malformed")
	// ErrHost is returned for a request that has not exactly one Host.
	ErrHost = errors.New("request has not exactly one Host")
	// ErrMismatch is returned for a signature that the key did not make.
	ErrMismatch = errors.New("AWS signature does not match")
	// ErrPayload is returned for a body that is not the one that was signed.
	ErrPayload = errors.New("body is not the one that was signed")
	// ErrUncovered is returned for a field that had to be signed and was not.
	ErrUncovered = errors.New("AWS signature leaves out a field that it must cover")
	// ErrExpired is returned for a signature whose time is over.
	ErrExpired = errors.New("AWS signature has expired")
	// ErrEarly is returned for a signature whose time has not come.
	ErrEarly = errors.New("AWS signature is from the future")
)

// Credentials are the keys of one AWS principal.
type Credentials struct {
	AccessKeyID  string
	SecretKey    secret.Value
	SessionToken secret.Value // zero: none
}

// Scope is what a signature is valid for.
type Scope struct{ Day, Region, Service string }

// String is the scope as it is signed: day/region/service/aws4_request.
func (s Scope) String() string {
	return s.Day + "/" + s.Region + "/" + s.Service + "/" + terminator
}

func (s Scope) valid() bool {
	for _, part := range [...]string{s.Region, s.Service} {
		if part == "" || strings.ContainsAny(part, "/, \t\r\n\x00") {
			return false
		}
	}
	_, err := time.Parse(dayFormat, s.Day)
	return err == nil
}

// signingKey derives the key of one day, region and service.
func signingKey(key secret.Value, s Scope) []byte {
	k := append([]byte("AWS4"), key.Reveal()...)
	sum := mac(k, s.Day)
	clear(k)
	for _, part := range [...]string{s.Region, s.Service, terminator} {
		sum = mac(sum, part)
	}
	return sum
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

// stringToSign is the text that a request's signature is over.
func stringToSign(at time.Time, s Scope, canonical []byte) string {
	return algorithm + "\n" + at.UTC().Format(timeFormat) + "\n" + s.String() + "\n" + sumHex(canonical)
}

func sign(key []byte, text string) string { return hex.EncodeToString(mac(key, text)) }
