package proxy_test

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/policy"
)

// overriding are fields that name a method, and whether a route for GET and POST is
// for a POST with them.
var overriding = []struct {
	fields  [][2]string
	allowed bool
}{
	{[][2]string{{"x-http-method-override", "DELETE"}}, false},
	{[][2]string{{"x-http-method-override", "delete"}}, false},
	{[][2]string{{"x-http-method", "MERGE"}}, false},
	{[][2]string{{"x-method-override", "PUT"}}, false},
	{[][2]string{{"x_http_method_override", "DELETE"}}, false},
	{[][2]string{{"x-http-method-override", "GET, DELETE"}}, false},
	{[][2]string{{"x-http-method-override", "GET"}, {"x-http-method", "DELETE"}}, false},
	{[][2]string{{"x-http-method-override", "GET"}, {"x-http-method-override", "DELETE"}}, false},
	{[][2]string{{"x-http-method-override", "GET"}}, true},
	{[][2]string{{"x-http-method-override", ""}}, true},
	{[][2]string{{"x-http-method-options", "DELETE"}}, true},
}

// TestMethodOverride: a route says which methods get its credential, and a field that
// many frameworks take for the method does not lead around that.
func TestMethodOverride(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Passthrough, w.partnerRoute(func(r *rule) { r.route.To.Methods = []string{"GET", "POST"} }))
	for i, c := range overriding {
		before := len(o.got())
		request := "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n"
		for _, f := range c.fields {
			request += f[0] + ": " + f[1] + "\r\n"
		}
		status := statusOf(w.say(o, request+"\r\n"))
		if reached := bytes.Contains(o.got()[before:], []byte(canary)); reached != c.allowed || (status == 200) != c.allowed {
			t.Errorf("%q: status %d, credential left: %v", c.fields, status, reached)
		}
		if r := w.awaitKind(audit.KindRequest, i+1)[i]; !c.allowed && (r.Reason != "request_mismatch" || r.Decision != "deny") {
			t.Errorf("%q: record %+v", c.fields, r)
		}
	}
}

// TestMethodOverrideHTTP2 is the same for HTTP/2.
func TestMethodOverrideHTTP2(t *testing.T) {
	var reached atomic.Int32
	w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	w.use(policy.Passthrough, w.partnerRoute(func(r *rule) { r.route.To.Methods = []string{"GET", "POST"} }))
	for _, c := range overriding {
		p := w.peer(o)
		fields := post()
		for _, f := range c.fields {
			fields = append(fields, f[0], f[1])
		}
		_ = p.head(1, true, fields...)
		p.sees(map[bool]string{true: "HEAD 1 200", false: "HEAD 1 403"}[c.allowed])
	}
	if n := reached.Load(); n != 3 {
		t.Errorf("%d requests at the origin", n)
	}
}
