package inject

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/upstream"
)

var now = time.Unix(1_700_000_000, 0)

func TestForms(t *testing.T) {
	for _, tt := range []struct {
		name   string
		c      Credential
		target string
		want   string
	}{
		{"bearer", Credential{Form: Bearer, Value: value("a.b~c+/=")}, "/x", "POST /x\nAccept: */*\nAuthorization: Bearer a.b~c+/="},
		{"basic", Credential{Form: Basic, Username: "Aladdin", Value: value("open sesame")}, "/x",
			"POST /x\nAccept: */*\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, // RFC 7617 section 2
		{"basic pair", Credential{Form: Basic, Value: value("Aladdin:open sesame")}, "/x",
			"POST /x\nAccept: */*\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{"basic utf8", Credential{Form: Basic, Username: "test", Value: value("123£")}, "/x",
			"POST /x\nAccept: */*\nAuthorization: Basic dGVzdDoxMjPCow=="}, // RFC 7617 section 2.1
		{"header", header("X-Api-Key", "k v"), "/x", "POST /x\nAccept: */*\nX-Api-Key: k v"},
		{"header with prefix", Credential{Form: Header, Field: "x-key", Prefix: "Token ", Value: value("k")}, "/x", "POST /x\nAccept: */*\nx-key: Token k"},
		{"query", query("key", "a b&c=d/\xff~"), "/x", "POST /x?key=a%20b%26c%3Dd%2F%FF~\nAccept: */*"},
		{"query beside others", query("key", "k"), "/x?b=%2f&a=1", "POST /x?b=%2f&a=1&key=k\nAccept: */*"},
		{"query, odd name", query("a b[]", "k"), "/?", "POST /?a%20b%5B%5D=k\nAccept: */*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := request(tt.target, "Accept: */*")
			done := apply(t, plan(t, tt.c), h)
			if h.String() != tt.want {
				t.Errorf("sent\n%s\nwant\n%s", h, tt.want)
			}
			if len(done.Credentials) != 1 || done.Credentials[0].Form != tt.c.Form.String() || done.Signature != nil {
				t.Errorf("applied %+v", done)
			}
		})
	}
}

// TestWorkloadsFieldsAreStripped: whatever spelling, count and order it used, one
// instance is left and it is ours; nothing else moves.
func TestWorkloadsFieldsAreStripped(t *testing.T) {
	h := request("/x?api_key=evil&a=1",
		"Host: api.partner.example", "authorization: Basic evil", "Accept: */*", "AUTHORIZATION: Bearer evil", "X_API_KEY: evil",
		"x-Api_Key: evil", "X.Api.Key: evil", "X-Api-Keys: mine", "X-Signature: sha256=evil", "x_timestamp: 1", "X-Nonce: evil",
		"Connection: keep-alive", "Authorization: evil")
	p, err := NewPlan([]Credential{{Form: Bearer, Value: value("good")}, header("X-Api-Key", "good"), query("api_key", "good")}, signer(t, false))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, p, h)
	if strings.Contains(h.String(), "evil") {
		t.Errorf("left over:\n%s", h)
	}
	for _, name := range []string{"authorization", "x-api-key", "x-signature", "x-timestamp"} {
		if got := h.values(name); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if h.values("x-nonce") != nil {
		t.Error("a nonce that nobody signed went out")
	}
	want := "POST /x?a=1&api_key=good\nHost: api.partner.example\nAccept: */*\nX-Api-Keys: mine\nConnection: keep-alive\nAuthorization: Bearer good"
	if !strings.HasPrefix(h.String(), want) {
		t.Errorf("sent\n%s", h)
	}
}

// TestStripLeavesOthersAlone is the same with random fields: those that are left
// are those of other names, in their order.
func TestStripLeavesOthersAlone(t *testing.T) {
	p := plan(t, header("X-Api-Key", "good"))
	rapid.Check(t, func(t *rapid.T) {
		h := request("/x")
		var want []string
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			name := rapid.OneOf(rapid.StringMatching(`[xX][-_.][aA][pP][iI][-_.~][kK][eE][yY]`), rapid.StringMatching(`[!#-'*+.0-9A-Z^-z|~-]{1,12}`)).Draw(t, "name")
			h.fields = append(h.fields, [2]string{name, "v"})
			mine := len(name) == 9 && strings.ToLower(name[:1]+name[2:5]+name[6:]) == "xapikey" &&
				strings.ContainsAny(name[1:2], "-_.") && strings.ContainsAny(name[5:6], "-_.~")
			if !mine {
				want = append(want, name)
			}
		}
		if strings.Contains(strings.ToLower(strings.Join(want, " ")), "connection") {
			t.Skip("an option may name us")
		}
		apply(t, p, h)
		var got []string
		for _, f := range h.fields {
			got = append(got, f[0])
		}
		if !slices.Equal(got, append(want, "X-Api-Key")) {
			t.Fatalf("left %q, want %q", got, want)
		}
	})
}

// TestConnectionCannotTakeItOff: a workload must not have the next proxy strip
// what we add.
func TestConnectionCannotTakeItOff(t *testing.T) {
	p, err := NewPlan([]Credential{{Form: Bearer, Value: value("good")}}, signer(t, true))
	if err != nil {
		t.Fatal(err)
	}
	for option, refused := range map[string]bool{
		"authorization": true, "close, Authorization": true, "close,\tAUTHORIZATION \t, x": true, "X-Signature": true, "x_nonce": true,
		"content-type": true, "close": false, "": false, ",,": false, "keep-alive, Upgrade": false, "authorizations": false,
	} {
		for _, name := range []string{"Connection", "connection", "CONNECTION"} {
			h := request("/x", "Connection: close", name+": "+option)
			_, _, err := p.Apply(permit(p, h), h, Content{}, now)
			if errors.Is(err, flow.ReasonBadRequest) != refused {
				t.Errorf("%s: %s: %v", name, option, err)
			}
		}
	}
}

func TestSignatureCoversWhatIsSent(t *testing.T) {
	for _, nonce := range []bool{true, false} {
		p, err := NewPlan([]Credential{query("key", "k&")}, signer(t, nonce))
		if err != nil {
			t.Fatal(err)
		}
		h := request("/a/%2F?x=1", "content-TYPE: \t application/json ", "X-Nonce: evil")
		done := apply(t, p, h)
		if h.target != "/a/%2F?x=1&key=k%26" {
			t.Errorf("target %s", h.target)
		}
		in := hmacsig.Input{
			Method: "POST", Target: h.target, ContentType: "application/json", BodySHA256: sha256.Sum256([]byte("body")), Time: now,
			Nonce: strings.Join(h.values("x-nonce"), ","),
		}
		if err := p.signers[0].(*HMAC).Scheme.Verify([]byte("key"), in, strings.Join(h.values("x-signature"), ",")); err != nil {
			t.Errorf("nonce %v: %v", nonce, err)
		}
		if (in.Nonce != "") != nonce || nonce && len(in.Nonce) != 32 {
			t.Errorf("nonce %q", in.Nonce)
		}
		want := Signature{Scheme: "knoxcall", KeyID: "hmac", Nonce: in.Nonce, Timestamp: now.Unix()}
		if done.Signature == nil || *done.Signature != want {
			t.Errorf("applied %+v, want %+v", done.Signature, want)
		}
		if last := h.fields[len(h.fields)-1][0]; last != "X-Signature" {
			t.Errorf("last field is %s", last)
		}
	}
}

func TestEverySignatureIsFresh(t *testing.T) {
	p, err := NewPlan(nil, signer(t, true))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 100 {
		done := apply(t, p, request("/"))
		if seen[done.Signature.Nonce] {
			t.Fatal("a nonce came twice")
		}
		seen[done.Signature.Nonce] = true
	}
}

func TestRequestsThatCannotBeSigned(t *testing.T) {
	p, err := NewPlan([]Credential{query("key", "k")}, signer(t, false))
	if err != nil {
		t.Fatal(err)
	}
	onlySigned, err := NewPlan(nil, signer(t, false))
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*head{
		"two content types": request("/x", "Content-Type: a", "content-type: b"),
		"absolute target":   request("http://api.partner.example/x"),
		"asterisk":          request("*"),
		"no target":         request(""),
		"fragment":          request("/x#y"),
		"line break":        request("/x\nGET /y"),
		"type breaks line":  request("/x", "Content-Type: a\nb"),
	} {
		for _, p := range []*Plan{p, onlySigned} {
			copied := *h
			copied.fields = slices.Clone(h.fields)
			if _, _, err := p.Apply(permit(p, &copied), &copied, Content{}, now); !errors.Is(err, flow.ReasonBadRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestPermitIsForOnePlanAndRequest: the zero permit, and one for another plan,
// method or host, write nothing.
func TestPermitIsForOnePlanAndRequest(t *testing.T) {
	p, other := plan(t, header("X-Key", "k")), plan(t, header("X-Key", "k"))
	h := request("/x", "X-Key: workload")
	before := h.String()
	for name, wrong := range map[string]Permit{
		"zero":            {},
		"not bound":       {nil, p, "POST", "api.partner.example"},
		"another plan":    permit(other, h),
		"no plan":         permit(nil, h),
		"another method":  {&upstream.Facts{}, p, "TRACE", "api.partner.example"},
		"another request": {&upstream.Facts{}, p, "POST", "evil.example"},
	} {
		if sealed, done, err := p.Apply(wrong, h, Content{}, now); !errors.Is(err, ErrPermit) || sealed.on != nil || done.Credentials != nil || h.String() != before {
			t.Errorf("%s: %v %v\n%s", name, done, err, h)
		}
	}
	e := whole(t)
	good, _ := Bind(e)
	m := &head{method: e.Method, authority: e.Authority, target: "/"}
	if _, _, err := e.Plan.Apply(good, m, Content{}, now); err != nil || m.values("authorization") == nil {
		t.Errorf("a permit of Bind: %v", err)
	}
}

func TestEmptyPlanChangesNothing(t *testing.T) {
	for _, p := range []*Plan{nil, {}} {
		h := request("/x", "Authorization: mine")
		before := h.String()
		if _, done, err := p.Apply(permit(p, h), h, Content{}, now); err != nil || done.Credentials != nil || h.String() != before {
			t.Errorf("%+v %v\n%s", done, err, h)
		}
		if _, _, err := p.Apply(Permit{}, h, Content{}, now); !errors.Is(err, ErrPermit) {
			t.Errorf("zero permit: %v", err)
		}
	}
}

// TestAppliedHasNoValue: what goes to the record holds no secret, in no encoding.
func TestAppliedHasNoValue(t *testing.T) {
	const canary = "canary-0123456789"
	s := signer(t, true)
	s.Key = value(canary)
	p, err := NewPlan([]Credential{
		{Name: "a", Form: Basic, Username: "u", Value: value(canary)}, header("X-Key", canary), query("q", canary),
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	done := apply(t, p, request("/x"))
	out := fmt.Sprintf("%+v %+v", done, *done.Signature)
	for _, s := range []string{canary, base64.StdEncoding.EncodeToString([]byte("u:" + canary)), fmt.Sprintf("%x", canary)} {
		if strings.Contains(out, s) {
			t.Errorf("applied holds the secret: %s", out)
		}
	}
}

func TestApplyDoesNotAllocate(t *testing.T) {
	p, q := plan(t, Credential{Form: Bearer, Value: value("t")}, header("X-Key", "k")), quietMessage()
	permit := permit(p, q)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := p.Apply(permit, q, Content{}, now); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 { // the pool may be emptied by the collector once
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkApply(b *testing.B) {
	signed, err := NewPlan([]Credential{{Form: Bearer, Value: value("t")}}, signer(b, true))
	if err != nil {
		b.Fatal(err)
	}
	for name, p := range map[string]*Plan{
		"bearer": plan(b, Credential{Form: Bearer, Value: value("t")}), "query": plan(b, query("key", "k")), "bearer+signature": signed,
	} {
		b.Run(name, func(b *testing.B) {
			q := quietMessage()
			permit := permit(p, q)
			for b.Loop() {
				if _, _, err := p.Apply(permit, q, Content{}, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
