package h2_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
)

// pausing is a handler that must wait before it can take the body, and then
// gives it back.
type pausing struct {
	wait time.Duration
	wg   *sync.WaitGroup
	sum  *bytes.Buffer
}

func (p *pausing) Handle(s *h2.Stream, e *h2.Event) {
	switch e.Kind {
	case h2.Head:
		s.Pause()
		p.wg.Go(func() {
			time.Sleep(p.wait)
			s.Resume(nil)
		})
	case h2.Data:
		p.sum.Write(e.Data)
		s.Consumed(e.Batch, len(e.Data))
	}
	if e.End && e.Kind != h2.Head {
		_ = s.WriteHead(e.Batch, kibHead[:1], false)
		_, _ = s.Write(e.Batch, p.sum.Bytes(), true)
	}
}

// TestPause: nothing of a body is lost, doubled or out of order, however much
// came while the handler waited, with trailers or without.
func TestPause(t *testing.T) {
	var wg sync.WaitGroup
	for _, wait := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		for _, size := range []int{0, 1, 1000, 3 << 20} {
			for _, trailer := range []http.Header{nil, {"X-T": {"v"}}} {
				through := handle(t, func() h2.Handler { return &pausing{wait, &wg, new(bytes.Buffer)} })
				var body bytes.Buffer
				for i := range size {
					body.WriteByte(byte(i % 251))
				}
				want := sha256.Sum256(body.Bytes())
				req, _ := http.NewRequest("POST", "http://api.example/", io.MultiReader(&body, strings.NewReader("")))
				req.Trailer = trailer
				res, err := client(t, through).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || sha256.Sum256(got) != want {
					t.Errorf("wait %v, %d bytes: %d came back, %v", wait, size, len(got), err)
				}
			}
		}
	}
	wg.Wait()
}
