package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
)

// serveHTTP2 serves every stream of the connection. Both sides speak HTTP/2,
// as the workload was offered what the upstream chose.
func (c *conn) serveHTTP2() {
	c.offer = onlyHTTP2
	server := &http2.Server{
		MaxConcurrentStreams:         maxStreams,
		IdleTimeout:                  c.p.o.Timeouts.Idle,
		MaxUploadBufferPerConnection: 1 << 20,
		MaxUploadBufferPerStream:     1 << 18,
	}
	server.ServeConn(c.client, &http2.ServeConnOpts{
		BaseConfig: &http.Server{
			MaxHeaderBytes: http1.MaxHead,
			ErrorLog:       log.New(io.Discard, "", 0), // a client's protocol errors are its own affair
		},
		Handler: http.HandlerFunc(c.serveStream),
	})
}

const maxStreams = 256

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
	sent bool // the response head has left: a refusal is too late
}

func (c *conn) serveStream(w http.ResponseWriter, r *http.Request) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	s := &stream{w: w, in: r, request: request{
		c: c, began: time.Now(), method: r.Method, authority: r.Host, path: path, query: query,
	}}
	f := s.forward()
	if s.up != nil {
		c.snap.Upstream.Put(s.up)
	}
	if f != nil && !s.sent {
		s.refuse(f)
	}
	s.record(f)
	if f != nil && s.sent {
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
	if f := s.connect(s.in.Context()); f != nil {
		return f
	}
	if s.up.H2() == nil {
		return refusal(flow.ReasonUpstreamTLS, "the upstream no longer speaks HTTP/2; connect again")
	}
	s.out = s.outgoing()
	if f := s.authorize(streamMessage{s.out}, sum); f != nil {
		return f
	}
	return s.roundTrip()
}

// wellFormed refuses what the HTTP/2 library lets through and HTTP/1 would
// read in two ways.
func (s *stream) wellFormed() *failure {
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

// outgoing copies the request. The target is carried as it came: Opaque keeps
// its bytes from being parsed and encoded again.
func (s *stream) outgoing() *http.Request {
	in := s.in
	out := &http.Request{
		Method:        in.Method,
		URL:           rawURL(in.Host, in.RequestURI),
		Host:          in.Host,
		Header:        in.Header.Clone(),
		Body:          in.Body,
		ContentLength: in.ContentLength,
		Trailer:       in.Trailer,
	}
	out.Header.Del("Host")
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // the library would add its own
	}
	if in.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return out
}

// rawURL makes the client send target byte for byte as :path.
func rawURL(host, target string) *url.URL {
	u := &url.URL{Scheme: "https", Host: host, Opaque: "//" + host + target}
	if target == "*" {
		u.Opaque = target
	}
	return u
}

// roundTrip sends the request; its body and the response's flow at once, as
// gRPC streams need.
func (s *stream) roundTrip() *failure {
	counted := &countedBody{ReadCloser: s.out.Body, n: &s.bytesOut}
	if s.out.Body != http.NoBody {
		s.out.Body = counted
	}
	ctx := httptrace.WithClientTrace(s.in.Context(), &httptrace.ClientTrace{Got1xxResponse: s.informational})
	res, err := s.up.H2().RoundTrip(s.out.WithContext(ctx))
	if err != nil {
		return s.broken(err)
	}
	defer res.Body.Close()
	s.writeHead(res)
	if err := s.copyBody(res.Body); err != nil {
		return s.broken(err)
	}
	for name, values := range res.Trailer {
		s.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

func (s *stream) broken(err error) *failure {
	if errors.Is(s.in.Context().Err(), context.Canceled) {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	var reset http2.StreamError
	if errors.As(err, &reset) {
		return refusal(flow.ReasonUpstreamClosed, "the upstream reset the stream: "+reset.Code.String())
	}
	return refusal(flow.ReasonUpstreamClosed, "")
}

func (s *stream) writeHead(res *http.Response) {
	head := s.w.Header()
	for name, values := range res.Header {
		head[name] = values
	}
	dropOwnAlternatives(head)
	if _, ok := head["Date"]; !ok {
		head["Date"] = nil // the server side would add one
	}
	if _, ok := head["Content-Type"]; !ok {
		head["Content-Type"] = nil // nor is a type to be guessed from the bytes
	}
	for name := range res.Trailer {
		head.Add("Trailer", name)
	}
	s.status, s.sent = res.StatusCode, true
	s.w.WriteHeader(res.StatusCode)
}

// informational passes 103 and its kind on; 100 is the library's own affair.
func (s *stream) informational(code int, header textproto.MIMEHeader) error {
	if code == http.StatusContinue {
		return nil
	}
	head := s.w.Header()
	for name, values := range header {
		head[name] = values
	}
	s.w.WriteHeader(code)
	clear(head)
	return nil
}

// dropOwnAlternatives removes what would lead the workload around us: another
// protocol or port for the same origin (RFC 7838).
func dropOwnAlternatives(h http.Header) {
	h.Del("Alt-Svc")
	h.Del("Alternate-Protocol")
}

// copyBody hands every piece on as it comes: an event must not wait for the
// next one.
func (s *stream) copyBody(src io.Reader) error {
	buf := bulk.get()
	defer bulk.put(buf)
	flusher, _ := s.w.(http.Flusher)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			s.bytesIn += int64(n)
			if _, werr := s.w.Write((*buf)[:n]); werr != nil {
				return werr
			}
			flusher.Flush()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *stream) refuse(f *failure) {
	s.status = f.status
	head := s.w.Header()
	clear(head)
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Outwarden-Reason", f.reason.String())
	s.w.WriteHeader(f.status)
	_, _ = io.WriteString(s.w, f.answer())
}

// countedBody counts what the upstream has taken of a body.
type countedBody struct {
	io.ReadCloser
	n *int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	*b.n += int64(n)
	return n, err
}
