package sigv4

import (
	"strconv"
	"strings"
	"time"
)

// What x-amz-content-sha256 and the last line of a canonical request may say
// in place of a hash.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	// EmptyPayload is the hash of no body.
	EmptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// MaxExpires is the longest life of a presigned URL.
const MaxExpires = 7 * 24 * time.Hour

// Signer signs for one credential, region and service. It may be used by
// several goroutines.
type Signer struct {
	Credentials     Credentials
	Region, Service string
	Path            PathRule
	// Covers says which fields are signed beside Host, by lower-case name; nil is Minimal.
	Covers func(name string) bool
	// ContentSHA256 sets x-amz-content-sha256 also where the service does not ask for it.
	ContentSHA256 bool
	// TokenUnsigned adds the session token after signing, as a few services want it.
	TokenUnsigned bool
}

// Minimal covers what AWS asks for: Content-Type, Content-MD5 and X-Amz-*.
func Minimal(name string) bool {
	return name == "content-type" || name == "content-md5" || strings.HasPrefix(name, "x-amz-")
}

// Everything covers each field but those that a hop may change.
func Everything(string) bool { return true }

// hop reports fields that are never signed: a hop may change them, or the
// signature itself.
func hop(name string) bool {
	switch name {
	case "authorization", "connection", "expect", "keep-alive", "proxy-authorization", "proxy-connection", "te",
		"transfer-encoding", "upgrade", "user-agent", "via", "x-amzn-trace-id", "x-forwarded-for", "accept-encoding":
		return true
	}
	return strings.HasPrefix(name, "sec-websocket-")
}

// Signature is the result of signing.
type Signature struct {
	// Set are the fields to set; the request's own of these names go.
	Set []Field
	// Target is the target to send: the request's own without an older signature
	// in its query, and for a presigned URL with the new one.
	Target           string
	Value            string // 64 lower-case hex digits; the seed of the chunks
	CanonicalRequest string // holds the session token: not for a log
	StringToSign     string
	chain            Chain
}

// Chain returns the chain that the body's chunks are signed with.
func (s *Signature) Chain() *Chain { c := s.chain; return &c }

// Sign signs r in the header. payload is the body's SHA-256 in lower-case hex or
// one of the constants. It returns ErrHost, ErrMalformed or ErrSigV4A for what
// can't be signed.
func (s *Signer) Sign(r *Request, payload string, at time.Time) (Signature, error) {
	scope, err := s.check(r, payload, at)
	if err != nil {
		return Signature{}, err
	}
	set := []Field{{"X-Amz-Date", at.UTC().Format(timeFormat)}}
	if s.needsHash(r, payload) {
		set = append(set, Field{"X-Amz-Content-Sha256", payload})
	}
	token := Field{"X-Amz-Security-Token", string(s.Credentials.SessionToken.Reveal())}
	if token.Value != "" && !s.TokenUnsigned {
		set = append(set, token)
	}
	signed := Request{r.Method, bareTarget(r), replace(s.bare(r.Fields), set)}
	names := signedNames(signed.Fields, s.covers)
	out := s.finish(&signed, canonicalQuery(nil, signed.query(), nil, ""), names, payload, scope, at)
	if token.Value != "" && s.TokenUnsigned {
		set = append(set, token)
	}
	out.Target = signed.Target
	out.Set = append(set, Field{"Authorization", algorithm + " Credential=" + s.Credentials.AccessKeyID + "/" + scope.String() +
		", SignedHeaders=" + strings.Join(names, ";") + ", Signature=" + out.Value})
	return out, nil
}

// Presign signs r in the query for expires (1 s to MaxExpires). The result's
// Target has what r's had, without an older signature, and the new one behind
// it; the fields named in Set are not part of it and Set is empty.
func (s *Signer) Presign(r *Request, payload string, at time.Time, expires time.Duration) (Signature, error) {
	scope, err := s.check(r, payload, at)
	if err != nil {
		return Signature{}, err
	}
	if expires < time.Second || expires > MaxExpires {
		return Signature{}, ErrMalformed
	}
	fields := s.bare(r.Fields)
	names := signedNames(fields, s.covers)
	more := []pair{
		{"X-Amz-Algorithm", algorithm},
		{"X-Amz-Credential", s.Credentials.AccessKeyID + "/" + scope.String()},
		{"X-Amz-Date", at.UTC().Format(timeFormat)},
		{"X-Amz-SignedHeaders", strings.Join(names, ";")},
		{"X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10)},
	}
	token := pair{"X-Amz-Security-Token", string(s.Credentials.SessionToken.Reveal())}
	if token.value != "" && !s.TokenUnsigned {
		more = append(more, token)
	}
	query := withoutAuth(r.query())
	signed := Request{r.Method, r.Target, fields}
	out := s.finish(&signed, canonicalQuery(nil, query, more, ""), names, payload, scope, at)
	if token.value != "" && s.TokenUnsigned {
		more = append(more, token)
	}
	out.Target = r.path() + "?" + joinQuery(query, append(more, pair{"X-Amz-Signature", out.Value}))
	return out, nil
}

func (s *Signer) finish(r *Request, query []byte, names []string, payload string, scope Scope, at time.Time) Signature {
	canonical := canonicalRequest(r, s.Path.of(s.Service), query, names, payload)
	text := stringToSign(at, scope, canonical)
	key := signingKey(s.Credentials.SecretKey, scope)
	value := sign(key, text)
	return Signature{
		Value: value, CanonicalRequest: string(canonical), StringToSign: text,
		chain: Chain{key: key, middle: at.UTC().Format(timeFormat) + "\n" + scope.String() + "\n", previous: value},
	}
}

// check refuses what can't be signed and gives the scope.
func (s *Signer) check(r *Request, payload string, at time.Time) (Scope, error) {
	if err := r.check(); err != nil {
		return Scope{}, err
	}
	if err := CheckPayload(payload); err != nil {
		return Scope{}, err
	}
	scope := Scope{at.UTC().Format(dayFormat), s.Region, s.Service}
	if !scope.valid() || s.Credentials.AccessKeyID == "" || strings.ContainsAny(s.Credentials.AccessKeyID, ", \t\r\n\x00") ||
		s.Credentials.SecretKey.IsZero() || s.Credentials.SessionToken.FieldSafe() != nil {
		return Scope{}, ErrMalformed
	}
	return scope, nil
}

// CheckPayload accepts what x-amz-content-sha256 may say: a hash, or one of the
// constants. It returns ErrSigV4A or ErrMalformed for all else.
func CheckPayload(payload string) error {
	switch payload {
	case UnsignedPayload, StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer:
		return nil
	}
	switch {
	case strings.HasPrefix(payload, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
		return ErrSigV4A
	case lowerHex64(payload):
		return nil
	}
	return ErrMalformed
}

// needsHash reports whether the request must carry x-amz-content-sha256.
func (s *Signer) needsHash(r *Request, payload string) bool {
	return s.ContentSHA256 || S3Family(s.Service) || len(payload) != 64 || r.count("x-amz-content-sha256") > 0
}

func (s *Signer) covers(name string) bool {
	if s.Covers == nil {
		return Minimal(name)
	}
	return s.Covers(name)
}

// bare is fields without those that a header signature writes.
func (s *Signer) bare(fields []Field) []Field {
	out := make([]Field, 0, len(fields))
	for _, f := range fields {
		switch strings.ToLower(f.Name) {
		case "authorization", "x-amz-date", "x-amz-security-token":
		default:
			out = append(out, f)
		}
	}
	return out
}
