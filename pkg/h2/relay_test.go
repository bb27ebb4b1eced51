package h2_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// relay is what proxy does with the engine, without its decisions: many
// workloads, and few connections to one origin.
type relay struct {
	t      testing.TB
	addr   string // of the origin
	dialer func(addr string) (net.Conn, error)
	o      h2.Options
	wg     sync.WaitGroup

	mu    sync.Mutex
	ups   []*h2.Conn
	downs []*h2.Conn
}

// serve takes one workload's connection.
func (r *relay) serve(c net.Conn) {
	down := h2.NewServer(c, r.o, func() h2.Handler { return (*downSide)(&exchange{r: r}) })
	r.mu.Lock()
	r.downs = append(r.downs, down)
	r.mu.Unlock()
	r.wg.Go(func() { _ = down.Serve() })
}

// open sends the request on a connection with room, or on a new one.
func (r *relay) open(b *h2.Batch, h h2.Handler, fields []hpack.HeaderField, end bool) (*h2.Stream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, up := range r.ups {
		if up.Room() == 0 {
			continue
		}
		if s, err := up.Open(b, h, fields, end); err == nil {
			return s, nil
		}
	}
	c, err := r.dialer(r.addr)
	if err != nil {
		return nil, err
	}
	up := h2.NewClient(c, r.o)
	r.ups = append(r.ups, up)
	r.wg.Go(func() { _ = up.Serve() })
	return up.Open(b, h, fields, end)
}

func (r *relay) close() {
	r.mu.Lock()
	all := append(append([]*h2.Conn(nil), r.ups...), r.downs...)
	r.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	r.wg.Wait()
}

// exchange is one request on its way through. down and up are set before the
// other side's events can need them.
type exchange struct {
	r        *relay
	down, up atomic.Pointer[h2.Stream]
	answered atomic.Bool
}

type (
	downSide exchange
	upSide   exchange
)

func (d *downSide) Handle(s *h2.Stream, e *h2.Event) {
	up := d.up.Load()
	switch e.Kind {
	case h2.Head:
		d.down.Store(s)
		up, err := d.r.open(e.Batch, (*upSide)(d), e.Fields, e.End)
		if err != nil {
			refuse(e.Batch, s, "502")
			return
		}
		d.up.Store(up)
	case h2.Data:
		if up == nil {
			s.Consumed(e.Batch, len(e.Data))
			return
		}
		n, _ := up.Write(e.Batch, e.Data, e.End)
		s.Consumed(e.Batch, n)
	case h2.Trailers:
		if up != nil {
			_ = up.WriteTrailers(e.Batch, e.Fields)
		}
	case h2.Room:
		up.Consumed(e.Batch, e.N)
	case h2.Closed:
		if up != nil {
			up.Reset(e.Batch, http2.ErrCodeCancel)
		}
	}
}

func (u *upSide) Handle(s *h2.Stream, e *h2.Event) {
	u.up.Store(s)
	down := u.down.Load()
	switch e.Kind {
	case h2.Head:
		u.answered.Store(e.Status >= 200)
		_ = down.WriteHead(e.Batch, e.Fields, e.End)
	case h2.Data:
		n, _ := down.Write(e.Batch, e.Data, e.End)
		s.Consumed(e.Batch, n)
	case h2.Trailers:
		_ = down.WriteTrailers(e.Batch, e.Fields)
	case h2.Room:
		down.Consumed(e.Batch, e.N)
	case h2.Closed:
		if !u.answered.Load() {
			refuse(e.Batch, down, "502")
			return
		}
		down.Reset(e.Batch, resetCode(e.Err))
	}
}

func refuse(b *h2.Batch, s *h2.Stream, status string) {
	_ = s.WriteHead(b, []hpack.HeaderField{{Name: ":status", Value: status}, {Name: "content-length", Value: "0"}}, true)
	s.Reset(b, http2.ErrCodeNo)
}

func resetCode(err error) http2.ErrCode {
	var e *h2.StreamError
	if errors.As(err, &e) && e.Remote {
		return e.Code
	}
	return http2.ErrCodeInternal
}

// startRelay listens on loopback and relays to addr; TLS on both legs if
// certificate is given.
func startRelay(t testing.TB, addr string, leaf *tls.Config, roots *tls.Config, o h2.Options) (listen string, r *relay) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = &relay{t: t, addr: addr, o: o, dialer: func(addr string) (net.Conn, error) {
		if roots == nil {
			return net.Dial("tcp", addr)
		}
		return tls.Dial("tcp", addr, roots)
	}}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if leaf != nil {
				c = tls.Server(c, leaf)
			}
			r.serve(c)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
		r.close()
	})
	return l.Addr().String(), r
}
