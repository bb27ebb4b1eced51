package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
)

// serveHTTP2 serves every stream of the connection. Both sides speak HTTP/2,
// as the workload was offered what the upstream chose.
func (c *conn) serveHTTP2() {
	c.offer = onlyHTTP2
	side := &c.p.http2
	side.server.ServeConn(c.client, &http2.ServeConnOpts{BaseConfig: side.base, Handler: http.HandlerFunc(c.handle)})
	c.streams.end()
	if c.requests.Load() == 0 {
		c.recordSilence()
	}
}

// handle is called in a goroutine of the library for each stream.
func (c *conn) handle(w http.ResponseWriter, r *http.Request) {
	if c.streams.begin() {
		defer c.streams.leave()
		c.serveStream(w, r)
	}
}

var (
	onlyHTTP1 = []string{alpnHTTP1}
	onlyHTTP2 = []string{alpnHTTP2}
)

// stream is one HTTP/2 request and its response.
type stream struct {
	request
	w    http.ResponseWriter
	in   *http.Request
	out  *http.Request
	body atomic.Int64 // bytes that the upstream has taken of the body
	sent bool         // the response head has left: a refusal is too late

	mu   sync.Mutex // of w while the upstream's goroutine may write an interim response
	gone bool       // no interim response may be written any more
}

func (c *conn) serveStream(w http.ResponseWriter, r *http.Request) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	s := &stream{w: w, in: r, request: request{
		c: c, began: time.Now(), decision: c.decision, method: r.Method, authority: r.Host, path: path, query: query,
	}}
	f := s.forward()
	s.endInterim()
	s.bytesOut = s.body.Load()
	told := f == nil
	if f != nil && !s.sent && f.status != 0 {
		s.refuse(f)
		told = true
	}
	s.record(f)
	if !told {
		panic(http.ErrAbortHandler) // RST_STREAM: half a response must not look whole
	}
}

// forward takes the request to the upstream and the response back.
func (s *stream) forward() *failure {
	if f := s.wellFormed(); f != nil {
		return f
	}
	if f := s.decide(); f != nil {
		return f
	}
	if f := s.guardTrailers(); f != nil {
		return f
	}
	sum, f := s.digest()
	if f != nil {
		return f
	}
	f, retry := s.attempt((*request).connect, sum)
	if retry {
		f, _ = s.attempt((*request).connectAfresh, sum)
	}
	return f
}

// attempt is one request on one upstream connection. retry says that the
// connection broke under it before any response, where the upstream did not
// begin with it or may do so twice. The library closes a body that it was given,
// so only a request without one can go again.
func (s *stream) attempt(connect func(*request, context.Context) *failure, sum [32]byte) (f *failure, retry bool) {
	if f := connect(&s.request, s.in.Context()); f != nil {
		return f, false
	}
	defer s.c.snap.Upstream.Put(s.up)
	if s.up.H2() == nil {
		return refusal(flow.ReasonUpstreamTLS, "the upstream no longer speaks HTTP/2; connect again"), false
	}
	s.out = s.outgoing()
	if f := s.authorize(streamMessage{s.out}, sum); f != nil {
		return f, false
	}
	return s.roundTrip()
}

// wellFormed refuses what the HTTP/2 library lets through and HTTP/1 would
// read in two ways.
func (s *stream) wellFormed() *failure {
	if !http1.ValidName(s.in.Method) { // "GET /x HTTP/1.1\r\n" is a method to the library
		return refusal(flow.ReasonBadRequest, "malformed method")
	}
	if err := http1.CheckTarget(s.in.RequestURI, s.in.Method); err != nil {
		return refusal(flow.ReasonBadRequest, err.Error())
	}
	if s.in.Host == "" {
		return refusal(flow.ReasonBadRequest, "no :authority")
	}
	for _, host := range s.in.Header["Host"] {
		if !strings.EqualFold(host, s.in.Host) {
			return refusal(flow.ReasonAuthorityMismatch, "Host and :authority differ")
		}
	}
	return nil
}

// guardTrailers keeps the workload from sending in a trailer what the route
// injects in a field. HTTP/2 has trailers announced (RFC 9110 section 6.6.2), so
// they are known before anything is sent.
func (s *stream) guardTrailers() *failure {
	for name := range s.in.Trailer {
		if s.plan != nil && s.plan.Inject.OwnsString(name) {
			return refusal(flow.ReasonBadRequest, "a trailer names a field that the route injects")
		}
	}
	return nil
}

// digest reads the whole body where a signer needs it, and puts it back.
func (s *stream) digest() (sum [32]byte, f *failure) {
	if !s.needsBody() {
		return sum, nil
	}
	limit := s.plan.SignedBody
	body, err := io.ReadAll(io.LimitReader(s.in.Body, limit+1))
	if err != nil {
		return sum, refusal(flow.ReasonWorkloadClosed, "the body ended early")
	}
	if int64(len(body)) > limit {
		return sum, refusal(flow.ReasonBodyTooLarge, "the route's signature covers the body; see limits.signed_body")
	}
	s.in.Body = io.NopCloser(bytes.NewReader(body))
	s.in.ContentLength = int64(len(body))
	return sha256.Sum256(body), nil
}
