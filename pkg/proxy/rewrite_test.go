package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// rewriter is a signer that changes content while it passes.
type rewriter struct {
	length int64 // of what it makes; -1 unknown
	begin  func(io.Writer) io.WriteCloser
}

func (*rewriter) Check() error     { return nil }
func (*rewriter) Use() inject.Use  { return inject.Use{Name: "rewriter", Version: "1"} }
func (*rewriter) Fields() []string { return []string{"x-rewritten"} }
func (*rewriter) Gathers() bool    { return false }

func (r *rewriter) Begin(inject.Message) (inject.Signing, error) { return r, nil }

func (r *rewriter) Sign(m inject.Message, _ []byte, _ time.Time) (inject.Signature, error) {
	m.Add("X-Rewritten", []byte("1"))
	m.Rewrite(inject.Rewriting{Length: r.length, Begin: r.begin})
	return inject.Signature{Scheme: "rewriter"}, nil
}

// upper writes what it gets in upper case and holds back until it has so much.
type upper struct {
	to   io.Writer
	most int
	held []byte
	tail string // stands behind the content
}

func (u *upper) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, '!') >= 0 {
		return 0, fmt.Errorf("an exclamation mark: %w", flow.ReasonBadRequest)
	}
	u.held = append(u.held, bytes.ToUpper(p)...)
	if len(u.held) < u.most {
		return len(p), nil
	}
	return len(p), u.flush()
}

func (u *upper) flush() error {
	_, err := u.to.Write(u.held)
	u.held = u.held[:0]
	return err
}

func (u *upper) Close() error {
	u.held = append(u.held, u.tail...)
	return u.flush()
}

// TestContentIsRewrittenWhileItPasses: whatever its size and framing, of a length
// that is known or not, and held back for longer than any window.
func TestContentIsRewrittenWhileItPasses(t *testing.T) {
	sizes := []int{0, 1, 5, 20_000, 100_000, 3 << 20}
	for _, alpn := range versions {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprint(alpn, " known ", known), func(t *testing.T) {
				w := newWorld(t)
				o := w.echo(t)
				for _, size := range sizes {
					for _, most := range []int{0, 300_000} {
						w.rewriteWith(size, most, known)
						body := strings.Repeat("abcde", size/5+1)[:size]
						want := strings.ToUpper(body)
						if !known {
							want += "-TAIL"
						}
						for _, sent := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} { // with and without a length
							if _, unframed := sent.(*strings.Reader); !unframed && size == 0 && known {
								continue // net/http takes it for no content
							}
							res := w.do(o, alpn, mustRequest(t, "PUT", "https://"+host+"/x", sent))
							got, err := io.ReadAll(res.Body)
							if err != nil || res.StatusCode != 200 || string(got) != want {
								t.Fatalf("%d bytes, held %d: %d, %d bytes came, %v", size, most, res.StatusCode, len(got), err)
							}
							if length := res.Header.Get("X-Length"); known != (length == fmt.Sprint(size)) {
								t.Errorf("%d bytes: the origin was told %s", size, length)
							}
						}
					}
				}
			})
		}
	}
}

// rewriteWith has a route that rewrites content of that size.
func (w *world) rewriteWith(size, most int, known bool) {
	w.t.Helper()
	r := &rewriter{length: -1}
	tail := "-TAIL"
	if known {
		r.length, tail = int64(size), ""
	}
	r.begin = func(to io.Writer) io.WriteCloser { return &upper{to: to, most: most, tail: tail} }
	plan, err := inject.NewPlan(nil, r)
	must(w.t, err)
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject, r.plan.SignedBody = plan, 0 }))
}

// echo is an origin that sends back what it got.
func (w *world) echo(t testing.TB) *origin {
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	return newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rw.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		_, _ = rw.Write(body)
	}))
}

// TestRewritingThatFails: what the workload is to blame for is its answer, in the
// middle of the content too, and the origin never has a whole request.
func TestRewritingThatFails(t *testing.T) {
	for _, alpn := range versions {
		for _, size := range []int{1, 200_000} {
			t.Run(fmt.Sprint(alpn, size), func(t *testing.T) {
				w := newWorld(t)
				whole := make(chan error, 9)
				w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, err := io.ReadAll(r.Body)
					whole <- err
					panic(http.ErrAbortHandler) // an answer to half a request would be one
				}))
				w.rewriteWith(size, 0, true)
				body := strings.Repeat("x", size-1) + "!"
				if status, reason := w.fetchBody(o, alpn, body); status != 400 || reason != "bad_request" {
					t.Errorf("%d %s", status, reason)
				}
				if r := w.request(); r.Reason != "bad_request" {
					t.Errorf("record %+v", r)
				}
				if size > 1 && <-whole == nil {
					t.Error("the origin took it for a whole request")
				}
			})
		}
	}
}

// TestChunksNeedHTTP11: content of unknown length is not sent to who may not
// understand it.
func TestChunksNeedHTTP11(t *testing.T) {
	w := newWorld(t)
	o := w.echo(t)
	w.rewriteWith(5, 0, false)
	got := w.say(o, "POST /x HTTP/1.0\r\nHost: "+host+"\r\nContent-Length: 5\r\n\r\nhello")
	if statusOf(got) != 400 || !strings.Contains(got, "HTTP/1.0 has no chunks") {
		t.Errorf("answer %q", got)
	}
}

// TestRewritingKeepsToItsLength: more or less than the head says never goes on, as
// the rest would be the next request.
func TestRewritingKeepsToItsLength(t *testing.T) {
	for _, alpn := range versions {
		for _, said := range []int{3, 7} {
			t.Run(fmt.Sprint(alpn, said), func(t *testing.T) {
				w := newWorld(t)
				o := w.echo(t)
				w.rewriteWith(said, 0, true)
				if status, reason := w.fetchBody(o, alpn, "hello"); status != 400 || reason != "bad_request" {
					t.Errorf("%d %s", status, reason)
				}
			})
		}
	}
}

// TestChangedContentIsNotRewritten: the head tells of what was changed, so nothing
// else may leave under it.
func TestChangedContentIsNotRewritten(t *testing.T) {
	const bait = "owph_aaaaaaaaaaaaaaaaaaaaaaaa"
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			o := w.echo(t)
			credential := inject.Credential{
				Name: "a", Version: "1", Form: inject.Placeholder, Placeholder: bait, In: inject.InBody, Value: secret.New([]byte("short")),
			}
			sent := "k=" + bait + "GET /smuggled"
			r := &rewriter{length: int64(len(sent)), begin: func(to io.Writer) io.WriteCloser { return &upper{to: to} }}
			plan, err := inject.NewPlan([]inject.Credential{credential}, r)
			must(t, err)
			w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject, r.plan.EditedBody = plan, 1<<16 }))
			if status, reason := w.fetchBody(o, alpn, sent); status != 500 || reason != "internal" {
				t.Errorf("%d %s", status, reason)
			}
			if status, _ := w.fetchBody(o, alpn, strings.ToLower(sent[:2])+strings.Repeat("x", len(sent)-2)); status != 200 {
				t.Errorf("with nothing to change: %d", status)
			}
		})
	}
}
