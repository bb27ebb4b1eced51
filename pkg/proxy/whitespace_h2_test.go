package proxy_test

import (
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// TestWhiteSpaceHTTP2: a value with white space around it, which HTTP/1 reads as the value
// without and libraries send over HTTP/2 as it is, arrives without, either way.
func TestWhiteSpaceHTTP2(t *testing.T) {
	got := make(chan string, 1)
	w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("X-Asked")
		rw.Header().Set("X-Said", " b c\t")
	})
	cc, err := (&http2.Transport{}).NewClientConn(w.tls(as{original: o.addr}, host, "h2"))
	must(t, err)
	request := mustRequest(t, "GET", "https://"+host+"/v1/x", nil)
	request.Header.Set("X-Asked", "\ta ")
	res, err := cc.RoundTrip(request)
	must(t, err)
	defer res.Body.Close()
	if said := res.Header.Get("X-Said"); res.StatusCode != 200 || said != "b c" {
		t.Errorf("status %d, %q", res.StatusCode, said)
	}
	if asked := <-got; asked != "a" {
		t.Errorf("the origin got %q", asked)
	}
}
