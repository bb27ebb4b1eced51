package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/flow"
)

// outgoing copies the request. The target is carried as it came: Opaque keeps
// its bytes from being parsed and encoded again.
func (s *stream) outgoing() *http.Request {
	in := s.in
	out := &http.Request{
		Method:        in.Method,
		URL:           rawURL(s.scheme(), in.Host, in.RequestURI),
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

// scheme is what the upstream leg makes of it.
func (s *stream) scheme() string {
	if s.up.Facts.TLS == 0 {
		return "http"
	}
	return "https"
}

// rawURL makes the client send target byte for byte as :path.
func rawURL(scheme, host, target string) *url.URL {
	u := &url.URL{Scheme: scheme, Host: host, Opaque: "//" + host + target}
	if target == "*" {
		u.Opaque = target
	}
	return u
}

// roundTrip sends the request; its body and the response's flow at once, as
// gRPC streams need.
func (s *stream) roundTrip() (f *failure, retry bool) {
	if s.out.Body != http.NoBody {
		s.out.Body = &countedBody{ReadCloser: s.out.Body, n: &s.body}
	}
	reused := s.up.Reused()
	ctx := httptrace.WithClientTrace(s.in.Context(), &httptrace.ClientTrace{Got1xxResponse: s.interim})
	res, err := s.up.H2().RoundTrip(s.out.WithContext(ctx))
	if err != nil {
		f := s.broken(err)
		again := mayGoAgain(err, reused && idempotent(s.method))
		return f, again && f.reason == flow.ReasonUpstreamClosed && s.out.Body == http.NoBody
	}
	defer res.Body.Close()
	s.writeHead(res)
	if err := s.copyBody(res.Body); err != nil {
		return s.broken(err), false
	}
	for name, values := range res.Trailer {
		s.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil, false
}

// mayGoAgain reports whether a failed request may be sent once more: where the
// upstream says that it did nothing about it (RFC 9113 section 8.7), or where
// the connection broke and twice does no harm.
func mayGoAgain(err error, harmless bool) bool {
	var reset http2.StreamError
	if errors.As(err, &reset) {
		return reset.Code == http2.ErrCodeRefusedStream
	}
	return harmless
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
	s.endInterim()
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
	// The head leaves before the first event. One that is all of the response
	// leaves with the end of the stream: gRPC tells the two apart.
	if res.ContentLength != 0 {
		s.w.(http.Flusher).Flush()
	}
}

// interim passes 103 and its kind on; 100 is the library's own affair. It is
// called by who reads the upstream connection, perhaps after this stream is
// over.
func (s *stream) interim(code int, header textproto.MIMEHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code == http.StatusContinue || s.gone {
		return nil
	}
	head := s.w.Header()
	for name, values := range header {
		head[name] = values
	}
	// The library still reads the map after WriteHeader, on a stream that is reset
	// meanwhile; two of its goroutines in one map end the process. It takes a copy
	// where the map has a length, which it strips.
	head["Content-Length"] = []string{"0"}
	s.w.WriteHeader(code)
	clear(head)
	return nil
}

func (s *stream) endInterim() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
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
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
