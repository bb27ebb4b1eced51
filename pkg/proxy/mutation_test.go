package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/policy"
)

// valid are the requests that mutations begin with.
var valid = []string{
	plainGet,
	"GET /v1/x?a=b&c=%2f HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\nUser-Agent: a/1 (b; c)\r\n\r\n",
	"HEAD /v1/x HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive\r\n\r\n",
	"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 11\r\n\r\nhello world",
	"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n\r\n",
	"PUT /v1/x HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
	"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\na;b=c\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
	"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	"DELETE /v1/x;y HTTP/1.1\r\nhost:\t" + host + "\r\nX-Empty:\r\nX-Comma: a, b,c\r\n\r\n",
	"GET http://" + host + "/v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
	"GET /v1/x HTTP/1.0\r\nHost: " + host + "\r\nConnection: keep-alive\r\n\r\n",
	"GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n",
	upgrade,
}

// splinters are what a smuggler puts in.
var splinters = []string{
	"\r", "\n", "\r\n", "\n\n", "\r\n\r\n", "\x00", " ", "\t", "\v", ":", ",", ";", "\"", "\\", "+", "-", "0", "0x", "%", "%00", "%2e", "/", "..", "#", "?", "*",
	"\x7f", "\x80", "\xff", "\r\n ", "\r\n\t", "GET ", " HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "chunked", "identity", "Chunked", ", chunked", "0\r\n\r\n", "5\r\nhello\r\n",
	"Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content_Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding : chunked\r\n",
	"Transfer-Encoding: xchunked\r\n", "Host: evil.example\r\n", "Connection: Content-Length\r\n", "Connection: close\r\n", "Upgrade: h2c\r\n",
	"Expect: 100-continue\r\n", "GET /smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "FFFFFFFFFFFFFFFF", "18446744073709551617",
}

// mutate returns one of the valid requests with a few things done to it.
func mutate(r *rand.Rand) []byte {
	b := []byte(valid[r.IntN(len(valid))])
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b) + 1)
		to := min(at+1+r.IntN(12), len(b))
		switch r.IntN(7) {
		case 0, 1, 2:
			b = bytes.Join([][]byte{b[:at], b[at:]}, []byte(splinters[r.IntN(len(splinters))]))
		case 3:
			b = bytes.Join([][]byte{b[:at], b[to:]}, nil)
		case 4:
			b = bytes.Join([][]byte{b[:to], b[at:]}, nil)
		case 5:
			b = bytes.Clone(b)
			if at < len(b) {
				b[at] ^= 1 << r.IntN(8)
			}
		case 6:
			other := valid[r.IntN(len(valid))]
			b = append(bytes.Clone(b[:at]), other[r.IntN(len(other)):]...)
		}
		if len(b) == 0 {
			b = []byte("\r\n")
		}
	}
	return b
}

// TestMutations is C2: of thousands of mutations of valid requests, the upstream
// reads as many requests as we recorded and the workload had answered, each with
// the method and path that policy saw. OUTWARDEN_SEED repeats a run.
func TestMutations(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("OUTWARDEN_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	n := times(10_000, 100_000)
	for _, way := range []struct {
		name  string
		clear bool
		from  int
		to    int
	}{{"clear text, even", true, 0, n / 2}, {"clear text, odd", true, n / 2, n}, {"TLS", false, n, n + n/10}} {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			w.resolves([]string{home})
			w.use(policy.Intercept, w.openRoute())
			refused, accepted, disputed := 0, 0, 0
			for i := way.from; i < way.to && !t.Failed(); i++ {
				raw := mutate(rand.New(rand.NewPCG(seed, uint64(i))))
				got := w.mutant(raw, way.clear)
				if got.err != "" {
					t.Errorf("OUTWARDEN_SEED=%d, mutation %d, %q: %s", seed, i, raw, got.err)
				}
				refused, accepted, disputed = refused+got.refused, accepted+got.accepted, disputed+got.disputed
			}
			if accepted == 0 || refused == 0 {
				t.Errorf("OUTWARDEN_SEED=%d: %d accepted, %d refused: the mutations say nothing", seed, accepted, refused)
			}
			t.Logf("OUTWARDEN_SEED=%d: %d accepted, %d refused, %d that net/http would not have", seed, accepted, refused, disputed)
		})
	}
}

// verdicts are what became of one mutation, and what is wrong with that.
type verdicts struct {
	accepted, refused, disputed int
	err                         string
}

// mutant sends a mutation and holds against each other what the workload was
// answered, what was recorded, and what net/http read at the origin.
func (w *world) mutant(raw []byte, clear bool) (v verdicts) {
	w.records.forget()
	seen := &witness{}
	var o *origin
	var c net.Conn
	if clear { // a valid request comes first: what follows is HTTP/1, whatever it looks like
		o = newOrigin(w.t, nil, seen.serve)
		c, raw = w.dial(as{original: o.addr}), append([]byte(plainGet), raw...)
	} else {
		o = w.originFor(seen.serve, host)
		c = w.tls(as{original: o.addr}, host)
	}
	response := talk(w.t, c, string(raw))
	w.quiet()
	o.settle(w)

	var recorded []string
	for _, r := range w.records.of(audit.KindRequest) {
		switch {
		case r.Status == http.StatusOK && (r.Reason == "" || r.Reason == "no_route"):
			path, _, _ := strings.Cut(r.Path, "?")
			recorded = append(recorded, r.Method+" "+path)
		case r.Reason == "upstream_closed":
			v.disputed++
		default:
			v.refused++
		}
	}
	v.accepted = len(recorded)
	answered := strings.Count(response, "HTTP/1.1 200 OK\r\n")
	if got := fmt.Sprint(seen.requests); got != fmt.Sprint(recorded) || answered != len(recorded) {
		v.err = fmt.Sprintf("origin read %v, recorded %v, %d answered; response %q", got, recorded, answered, response)
	}
	return v
}

// witness is an origin that reads with net/http, and notes what that makes of it.
type witness struct {
	mu       sync.Mutex
	requests []string
}

func (s *witness) serve(c net.Conn) {
	for r := bufio.NewReader(c); ; {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, q.Method+" "+pathOf(q))
		s.mu.Unlock()
		if _, err := io.WriteString(c, okResponse); err != nil {
			return
		}
	}
}

// pathOf is the path as it was written.
func pathOf(q *http.Request) string {
	target, _, _ := strings.Cut(q.RequestURI, "?")
	if i := strings.Index(target, "://"); i > 0 && !strings.HasPrefix(target, "/") {
		if target = target[i+len("://"):]; strings.Contains(target, "/") {
			target = target[strings.Index(target, "/"):]
		} else {
			target = "/"
		}
	}
	return target
}
