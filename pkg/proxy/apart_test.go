package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

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
