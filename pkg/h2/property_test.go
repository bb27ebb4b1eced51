package h2_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"pgregory.net/rapid"
)

// plan is one stream of an interleaving.
type plan struct {
	method string
	target string
	pieces []int // of the request body
	length bool  // content-length is sent
	fields int
}

func drawPlan(t *rapid.T) plan {
	p := plan{method: rapid.SampledFrom([]string{"GET", "POST", "PUT", "HEAD"}).Draw(t, "method")}
	p.target = "/" + rapid.StringMatching(`[a-z0-9._~-]{0,20}`).Draw(t, "path")
	if rapid.Bool().Draw(t, "sized") {
		p.target += "?fixed=" + strconv.Itoa(rapid.IntRange(0, 400000).Draw(t, "response"))
	}
	if p.method == "POST" || p.method == "PUT" {
		p.pieces = rapid.SliceOfN(rapid.IntRange(0, 90000), 0, 4).Draw(t, "pieces")
		p.length = rapid.Bool().Draw(t, "length")
	}
	p.fields = rapid.IntRange(0, 30).Draw(t, "fields")
	return p
}

func (p plan) send(tr http.RoundTripper) (answer, error) {
	var body io.Reader
	total := 0
	if p.pieces != nil {
		var parts []io.Reader
		for i, n := range p.pieces {
			parts = append(parts, bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)}, n)))
			total += n
		}
		body = io.MultiReader(parts...)
	}
	req, err := http.NewRequest(p.method, "http://api.example"+p.target, body)
	if err != nil {
		return answer{}, err
	}
	if p.length {
		req.ContentLength = int64(total)
	}
	for i := range p.fields {
		req.Header.Add("X-F"+strconv.Itoa(i%7), strconv.Itoa(i))
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	delete(res.Header, "Date")
	return answer{status: res.StatusCode, header: res.Header, body: sha256.Sum256(got), size: len(got), trailer: res.Trailer}, err
}

// TestAnyInterleaving: whatever streams run at once through the relay, and
// however small its windows, each gets what it gets without it.
func TestAnyInterleaving(t *testing.T) {
	addr := origin(t, http.HandlerFunc(echo))
	direct := client(t, addr)
	small, _ := startRelay(t, addr, nil, nil, h2.Options{StreamWindow: 1000, ConnWindow: 65535})
	usual, _ := startRelay(t, addr, nil, nil, h2.Options{})
	through := []http.RoundTripper{client(t, small), client(t, usual)}
	rapid.Check(t, func(rt *rapid.T) {
		plans := rapid.SliceOfN(rapid.Custom(drawPlan), 1, 12).Draw(rt, "plans")
		tr := rapid.SampledFrom(through).Draw(rt, "relay")
		got, want := all(t, tr, plans), all(t, direct, plans)
		for i := range plans {
			if !got[i].equal(want[i]) {
				rt.Errorf("%+v: %+v, direct %+v", plans[i], got[i], want[i])
			}
		}
	})
}

// all sends every plan at once.
func all(t testing.TB, tr http.RoundTripper, plans []plan) []answer {
	answers := make([]answer, len(plans))
	var wg sync.WaitGroup
	for i, p := range plans {
		wg.Go(func() {
			a, err := p.send(tr)
			if err != nil {
				t.Errorf("%+v: %v", p, err)
			}
			answers[i] = a
		})
	}
	wg.Wait()
	return answers
}
