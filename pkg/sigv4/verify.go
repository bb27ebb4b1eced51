package sigv4

import (
	"crypto/hmac"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/secret"
)

// Verify returns nil if the owner of c signed r. body is the SHA-256 of the body
// in lower-case hex, "" if it is not known: then what the request says of its
// body is believed. It returns ErrMismatch, ErrPayload (the body is another),
// ErrUncovered (an X-Amz field that is not signed could be anybody's), ErrHost
// or ErrMalformed.
//
// A session token in the header that the signature leaves out is accepted only
// if it is c's own, in the query likewise.
func (a *Authorization) Verify(c Credentials, r *Request, body string, rule PathRule) error {
	if err := r.check(); err != nil {
		return err
	}
	if c.SecretKey.IsZero() || a.AccessKeyID != c.AccessKeyID {
		return ErrMismatch
	}
	if err := a.checkCovered(r); err != nil {
		return err
	}
	payload, err := a.payload(body)
	if err != nil {
		return err
	}
	text, token := a.stringToSign(r, payload, rule)
	want := sign(signingKey(c.SecretKey, a.Scope), text)
	if !hmac.Equal([]byte(want), []byte(a.Signature)) || !a.tokenFits(c, token) {
		return ErrMismatch
	}
	return nil
}

// stringToSign gives the text, and whether it covers the session token.
func (a *Authorization) stringToSign(r *Request, payload string, rule PathRule) (text string, token bool) {
	without := ""
	if a.Presigned {
		without, token = "X-Amz-Signature", true
	} else {
		token = slices.Contains(a.Names, "x-amz-security-token")
	}
	query := canonicalQuery(nil, r.query(), nil, without)
	canonical := canonicalRequest(r, rule.of(a.Scope.Service), query, a.Names, payload)
	return stringToSign(a.Time, a.Scope, canonical), token
}

// tokenFits: a token that is not covered must be the one that is known.
func (a *Authorization) tokenFits(c Credentials, covered bool) bool {
	return a.Token == "" || covered || secret.New([]byte(a.Token)).Equal(c.SessionToken)
}

// Chain returns the chain of the body's chunks; r must have been verified with c.
func (a *Authorization) Chain(c Credentials) *Chain {
	return &Chain{
		key:      signingKey(c.SecretKey, a.Scope),
		middle:   a.Time.Format(timeFormat) + "\n" + a.Scope.String() + "\n",
		previous: a.Signature,
	}
}

// checkCovered: every signed field is there, and every X-Amz field is signed.
func (a *Authorization) checkCovered(r *Request) error {
	for _, name := range a.Names {
		if r.count(name) == 0 {
			return ErrMismatch
		}
	}
	for _, f := range r.Fields {
		name := strings.ToLower(f.Name)
		if strings.HasPrefix(name, "x-amz-") && name != "x-amz-security-token" && !slices.Contains(a.Names, name) {
			return ErrUncovered
		}
	}
	return nil
}

// payload is the last line of the canonical request.
func (a *Authorization) payload(body string) (string, error) {
	switch {
	case a.Payload == "" && a.Presigned && S3Family(a.Scope.Service):
		return UnsignedPayload, nil
	case a.Payload == "" && body == "":
		return "", ErrPayload
	case a.Payload == "":
		return body, nil
	case body != "" && lowerHex64(a.Payload) && a.Payload != body:
		return "", ErrPayload
	}
	return a.Payload, nil
}
