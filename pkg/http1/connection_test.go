package http1_test

import (
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

func TestRequestHop(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"none", "A: b\nC: d", "A: b\nC: d"},
		{"keep-alive stays", "connection:keep-alive\nA: b", "connection:keep-alive\nA: b"},
		{"upgrade stays", "Upgrade: websocket\nConnection: keep-alive, Upgrade", "Upgrade: websocket\nConnection: keep-alive, Upgrade"},
		{"close goes", "Connection: close\nA: b", "A: b"},
		{"named field goes", "X-A: 1\nConnection: x-a\nX-B: 2\nx-A: 3", "X-B: 2"},
		{"injected field goes, upgrade stays", "Authorization: x\nUpgrade: websocket\nConnection: keep-alive, Upgrade, authorization",
			"Upgrade: websocket\nConnection: Upgrade"},
		{"upgrade that Connection does not name", "Upgrade: h2c\nA: b", "A: b"},
		{"option without a field", "Connection: Upgrade", ""},
		{"h2c", "Connection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAAA\nUpgrade: h2c", "Upgrade: h2c\nConnection: Upgrade"},
		{"te trailers stays", "TE: trailers\nConnection: TE", "TE: trailers\nConnection: TE"},
		{"te trailers without an option", "TE: Trailers", "TE: Trailers"},
		{"te gzip goes", "TE: gzip, trailers\nConnection: TE, keep-alive", ""},
		{"te twice goes", "TE: trailers\nTE: trailers", ""},
		{"te in a line that goes", "Connection: close, te\nTE: trailers", "TE: trailers\nConnection: TE"},
		{"of old proxies", "Proxy-Connection: keep-alive\nKeep-Alive: 300\nConnection: keep-alive", "Connection: keep-alive"},
		{"two lines", "Connection: close\nConnection: keep-alive\nA: b", "Connection: keep-alive\nA: b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := func(f string) string {
				if f != "" {
					f = strings.ReplaceAll(f, "\n", "\r\n") + "\r\n"
				}
				return "GET / HTTP/1.1\r\nHost: a\r\n" + f + "\r\n"
			}
			var r http1.Request
			var e http1.Edit
			if _, err := r.Parse([]byte(head(c.in))); err != nil {
				t.Fatal(err)
			}
			r.Hop(&e)
			if got := string(r.Append(nil, &e)); got != head(c.out) {
				t.Errorf("got %q\nwant %q", got, head(c.out))
			}
			if (c.in == c.out) != e.Empty() {
				t.Errorf("Empty = %v", e.Empty())
			}
		})
	}
}

// A caller that does not want the upgrade clears it first.
func TestRequestHopWithoutUpgrade(t *testing.T) {
	var r http1.Request
	var e http1.Edit
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\nA: b\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.Upgrade = nil
	r.Hop(&e)
	if got, want := string(r.Append(nil, &e)), "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestResponseHop(t *testing.T) {
	for in, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\nX: y\r\n\r\n":                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n":                                                       "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close, x\r\nX: y\r\n\r\n":                                            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n":                               "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Upgrade, Keep-Alive\r\nUpgrade: h2,h2c\r\n\r\n": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		var r http1.Response
		var e http1.Edit
		if _, err := r.Parse([]byte(in), []byte("GET")); err != nil {
			t.Fatal(err)
		}
		r.Hop(&e)
		if got := string(r.Append(nil, &e)); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}

func TestEdit(t *testing.T) {
	var r http1.Request
	if _, err := r.Parse([]byte("GET /a?b HTTP/1.1\r\nhost: a\r\nX-A:  1 \r\nAuthorization: old\r\nx-a: 2\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var e http1.Edit
	if got := r.Append([]byte("before "), &e); string(got) != "before "+string(r.Head) {
		t.Errorf("no edit: %q", got)
	}
	e.Target = []byte("/a?b&key=v")
	e.Add = http1.AppendField(e.Add, "Authorization", "Bearer t")
	if n := e.DropName(r.Fields, "authorization"); n != 1 || !e.Drop.Has(2) || e.Drop.Has(1) {
		t.Errorf("dropped %d, %v", n, e.Drop)
	}
	want := "GET /a?b&key=v HTTP/1.1\r\nhost: a\r\nX-A:  1 \r\nx-a: 2\r\nAuthorization: Bearer t\r\n\r\n"
	if got := string(r.Append(nil, &e)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if e.Reset(); !e.Empty() || string(r.Append(nil, &e)) != string(r.Head) {
		t.Error("Reset left something")
	}
}

func TestValid(t *testing.T) {
	for s, want := range map[string][2]bool{
		"X-A": {true, true}, "": {false, true}, "a b": {false, true}, "a:": {false, true}, "a\r\nb": {false, false},
		" a": {false, false}, "a\t": {false, false}, "a\tb": {false, true}, "a\x00": {false, false}, "\xff": {false, true}, "\x7f": {false, false},
	} {
		if got := [2]bool{http1.ValidName(s), http1.ValidValue([]byte(s))}; got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestBlank(t *testing.T) {
	for s, want := range map[string]bool{"": true, "\r": true, "\r\n": true, "\n": false, "\r\n\r\n": false, "\r\nG": false, " ": false} {
		if http1.Blank([]byte(s)) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
