package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// partner is the API: it checks what it demands, then answers.
type partner struct {
	demands
	maxBody int64
	paths   map[string]func(http.ResponseWriter, *http.Request, *account)
}

func newPartner(o *options) (*partner, error) {
	key, err := readSecret(o.hmacKey)
	if err != nil {
		return nil, fmt.Errorf("HMAC key: %w", err)
	}
	token, err := readSecret(o.bearer)
	if err != nil {
		return nil, fmt.Errorf("bearer token: %w", err)
	}
	p := &partner{maxBody: o.maxBody, demands: demands{
		certificate: o.clientCA != "",
		key:         key, nonce: o.nonce == "required", token: token,
		allow: o.allow, window: o.window, seen: newSeen(o.window, o.nonces), now: time.Now,
	}}
	p.paths = map[string]func(http.ResponseWriter, *http.Request, *account){
		"/echo": echo, "/sse": events, "/stream": stream, "/trailers": trailers, "/status": status, "/ws": websocket,
	}
	return p, nil
}

// account is the JSON answer: what the request was, as it came out of the wire.
// It holds no secret: of a token only its digest.
type account struct {
	OK            bool           `json:"ok"`
	Reason        string         `json:"reason,omitempty"`
	Method        string         `json:"method"`
	Path          string         `json:"path"` // with query
	Host          string         `json:"host"`
	Proto         string         `json:"proto"`
	Headers       []string       `json:"headers"` // names, sorted; one entry for each value
	Authorization *authorization `json:"authorization,omitempty"`
	SourceIP      string         `json:"source_ip"`
	ClientCert    string         `json:"client_cert,omitempty"` // subject
	Signature     string         `json:"signature,omitempty"`   // "verified"
	Nonce         string         `json:"nonce,omitempty"`
	BodyBytes     int64          `json:"body_bytes"`
	BodySHA256    string         `json:"body_sha256,omitempty"`
	Trailers      []string       `json:"trailers,omitempty"` // names, sorted

	body io.Reader // for who answers with it
}

type authorization struct {
	Scheme string `json:"scheme"`
	SHA256 string `json:"sha256"` // of what follows the scheme
}

// ServeHTTP checks the head, reads and checks the body, and answers.
func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := p.account(r)
	refused := p.head(r)
	if refused == nil {
		refused = p.body(w, r, a)
	}
	if refused != nil {
		a.Reason = refused.reason
		answer(w, refused.status, a)
		return
	}
	a.OK = true
	if serve, ok := p.paths[r.URL.Path]; ok {
		serve(w, r, a)
		return
	}
	answer(w, http.StatusOK, a)
}

// body takes the request's body in. Where a signature is demanded it is read to
// its end first; /echo without one copies as it comes.
func (p *partner) body(w http.ResponseWriter, r *http.Request, a *account) *refusal {
	if p.key == nil && r.URL.Path == "/echo" {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 always is
		a.body = r.Body
		return nil
	}
	var kept bytes.Buffer
	sum, to := sha256.New(), io.Writer(io.Discard)
	if r.URL.Path == "/echo" {
		to = &kept
	}
	from := r.Body
	if p.key != nil {
		from = http.MaxBytesReader(w, r.Body, p.maxBody)
	}
	n, err := io.Copy(io.MultiWriter(sum, to), from)
	if err != nil {
		return unreadable(err)
	}
	digest := sum.Sum(nil)
	a.body, a.BodyBytes, a.BodySHA256 = &kept, n, hex.EncodeToString(digest)
	a.Trailers = names(r.Trailer)
	refused := p.signature(r, digest)
	if refused == nil && p.key != nil {
		a.Signature, a.Nonce = "verified", r.Header.Get("X-Nonce")
	}
	return refused
}

func unreadable(err error) *refusal {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("body is over %d bytes", tooLarge.Limit)}
	}
	return &refusal{http.StatusBadRequest, "body can't be read"}
}

func (p *partner) account(r *http.Request) *account {
	a := &account{
		Method: r.Method, Path: r.RequestURI, Host: r.Host, Proto: r.Proto,
		Headers: names(r.Header), SourceIP: source(r).String(),
	}
	if value := r.Header.Get("Authorization"); value != "" {
		scheme, rest, _ := strings.Cut(value, " ")
		sum := sha256.Sum256([]byte(rest))
		a.Authorization = &authorization{scheme, hex.EncodeToString(sum[:])}
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		a.ClientCert = r.TLS.PeerCertificates[0].Subject.String()
	}
	return a
}

func names(h http.Header) []string {
	list := []string{}
	for name, values := range h {
		for range values {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func answer(w http.ResponseWriter, status int, a *account) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the peer may be gone
}
