package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// demands is what a request must bring. Empty fields demand nothing.
type demands struct {
	certificate bool
	key         []byte // of the signature
	nonce       bool   // a signature without a nonce is refused
	token       []byte
	allow       []netip.Prefix
	window      time.Duration
	seen        *seen
	now         func() time.Time
}

// refusal is an answer of 401 or 403, or 503 where we can't tell.
type refusal struct {
	status int
	reason string
}

func unauthorised(format string, a ...any) *refusal {
	return &refusal{http.StatusUnauthorized, fmt.Sprintf(format, a...)}
}

// head checks all that does not need the body. nil: nothing is amiss.
func (d *demands) head(r *http.Request) *refusal {
	if !d.allowed(source(r)) {
		return &refusal{http.StatusForbidden, fmt.Sprintf("source address %s is not on the allow list", source(r))}
	}
	if d.certificate && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return unauthorised("client certificate is missing")
	}
	return d.checkToken(r)
}

func (d *demands) allowed(addr netip.Addr) bool {
	for _, p := range d.allow {
		if p.Contains(addr) {
			return true
		}
	}
	return len(d.allow) == 0
}

func (d *demands) checkToken(r *http.Request) *refusal {
	if d.token == nil {
		return nil
	}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return unauthorised("%d authorization fields instead of one", len(values))
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || subtle.ConstantTimeCompare([]byte(token), d.token) != 1 {
		return unauthorised("bearer token is wrong")
	}
	return nil
}

// signature checks X-Signature over the request and the digest of its body, and
// that it was not used before.
func (d *demands) signature(r *http.Request, body []byte) *refusal {
	if d.key == nil {
		return nil
	}
	var stamp, nonce, signature string
	for _, f := range []struct {
		name string
		to   *string
		need bool
	}{{"X-Timestamp", &stamp, true}, {"X-Nonce", &nonce, d.nonce}, {"X-Signature", &signature, true}} {
		values := r.Header.Values(f.name)
		if len(values) > 1 || f.need && len(values) == 0 {
			return unauthorised("%d %s fields instead of one", len(values), strings.ToLower(f.name))
		}
		if len(values) == 1 {
			*f.to = values[0]
		}
	}
	if d.nonce && nonce == "" {
		return unauthorised("nonce is empty")
	}
	if refused := d.checkTime(stamp); refused != nil {
		return refused
	}
	if !d.matches(r, stamp, nonce, body, signature) {
		return unauthorised("signature does not match")
	}
	return d.once(nonce, signature)
}

// checkTime wants plain decimal digits: "+5", "05" or a fraction would give one
// moment several spellings.
func (d *demands) checkTime(stamp string) *refusal {
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != stamp {
		return unauthorised("timestamp %q is not in unix seconds", stamp)
	}
	switch off := d.now().Sub(time.Unix(seconds, 0)); {
	case off > d.window:
		return unauthorised("timestamp is %s old, allowed are %s", off.Round(time.Second), d.window)
	case off < -d.window:
		return unauthorised("timestamp is %s ahead, allowed are %s", (-off).Round(time.Second), d.window)
	}
	return nil
}

func (d *demands) matches(r *http.Request, stamp, nonce string, body []byte, signature string) bool {
	given, ok := strings.CutPrefix(signature, "sha256=")
	if !ok || given != strings.ToLower(given) {
		return false
	}
	digest, err := hex.DecodeString(given)
	if err != nil {
		return false
	}
	lines := []string{
		r.Method,
		r.RequestURI,
		"content-type:" + r.Header.Get("Content-Type"),
		"x-timestamp:" + stamp,
	}
	if nonce != "" {
		lines = append(lines, "x-nonce:"+nonce)
	}
	lines = append(lines, hex.EncodeToString(body))
	mac := hmac.New(sha256.New, d.key)
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hmac.Equal(digest, mac.Sum(nil))
}

// once refuses what was used before: the nonce, and the signature where there is
// none.
func (d *demands) once(nonce, signature string) *refusal {
	once := "nonce " + nonce
	if nonce == "" {
		once = signature
	}
	switch d.seen.add(sha256.Sum256([]byte(once)), d.now()) {
	case isNew:
		return nil
	case isKnown:
		return unauthorised("replay: this nonce or signature was used before")
	}
	return &refusal{http.StatusServiceUnavailable, "too many nonces in the time window"}
}

// source is the peer's address.
func source(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}
