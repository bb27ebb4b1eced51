package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestApart: a workload that proves who it is once for a connection has upstream
// connections of its own from then on, and nobody else gets on one of them.
func TestApart(t *testing.T) {
	for _, scheme := range []string{"NTLM TlRMTVNTUAAB", "negotiate YII=", "Kerberos\tx"} {
		t.Run(scheme, func(t *testing.T) {
			w := newWorld(t)
			var served atomic.Int32
			addr := newOrigin(t, nil, func(c net.Conn) {
				name, who := served.Add(1), "nobody"
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if a := r.Header.Get("Authorization"); a != "" {
						who = a // the connection is this one's
					}
					said := fmt.Sprintf("connection %d of %s", name, who)
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said)
				}
			}).addr
			w.use(policy.Intercept)
			one, other := w.dial(as{original: addr}), w.dial(as{original: addr, pid: otherPID})
			ask := func(c net.Conn, field string) string {
				t.Helper()
				_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+addr.String()+"\r\n"+field+"\r\n")
				must(t, err)
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				must(t, err)
				b, err := io.ReadAll(r.Body)
				must(t, err)
				return string(b)
			}
			steps := []struct {
				c           net.Conn
				field, want string
			}{
				{one, "", "connection 1 of nobody"},
				{other, "", "connection 1 of nobody"},
				{one, "Authorization: " + scheme + "\r\n", "connection 2 of " + scheme},
				{other, "", "connection 1 of nobody"},
				{one, "", "connection 2 of " + scheme},
				{other, "Authorization: Bearer shared\r\n", "connection 1 of Bearer shared"},
				{other, "", "connection 1 of Bearer shared"},
			}
			for i, s := range steps {
				if got := ask(s.c, s.field); got != s.want {
					t.Errorf("step %d: %q, want %q", i, got, s.want)
				}
				w.until("every upstream connection rests", func() bool { return w.pool.Stats().Idle == int(served.Load()) })
			}
			must(t, one.Close())
			w.until("the one that was its own ends with it", func() bool { return w.pool.Stats().Idle == 1 })
			if got := ask(other, ""); got != "connection 1 of Bearer shared" {
				t.Errorf("the other, which is everybody's: %q", got)
			}
		})
	}
}

// TestApartHTTP2: such a proof is not for HTTP/2, whose servers ask for HTTP/1.1 then
// (TestCodesGoThrough). One that takes it for a connection all the same takes it for
// the workload's own: who says it leaves the connection that all share, and nobody gets
// on the new one.
func TestApartHTTP2(t *testing.T) {
	w := newWorld(t)
	var served atomic.Int32
	addr := newOrigin(t, nil, func(c net.Conn) {
		name := served.Add(1)
		var who atomic.Value
		who.Store("nobody")
		(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if a := r.Header.Get("Authorization"); a != "" {
				who.Store(a) // the connection is this one's
			}
			_, _ = fmt.Fprintf(rw, "connection %d of %s", name, who.Load())
		})})
	}).addr
	w.use(policy.Intercept)
	join := func(pid uint32) *http2.ClientConn {
		cc, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(w.dial(as{original: addr, pid: pid}))
		must(t, err)
		return cc
	}
	one, other := join(appPID), join(otherPID)
	const proof = "Negotiate YII="
	for i, s := range []struct {
		c             *http2.ClientConn
		authorization string
		want          string
	}{
		{one, "", "connection 1 of nobody"},
		{other, "", "connection 1 of nobody"},
		{one, proof, "connection 2 of " + proof},
		{other, "", "connection 1 of nobody"},
		{one, "", "connection 2 of " + proof},
		{other, "Bearer shared", "connection 1 of Bearer shared"},
		{other, proof, "connection 3 of " + proof},
		{one, "", "connection 2 of " + proof},
	} {
		req := mustRequest(t, "GET", "http://"+addr.String()+"/", nil)
		if s.authorization != "" {
			req.Header.Set("Authorization", s.authorization)
		}
		res, err := s.c.RoundTrip(req)
		must(t, err)
		if got, _ := io.ReadAll(res.Body); string(got) != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	must(t, one.Close())
	must(t, other.Close())
}
