package inject

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

const bait1, bait2 = "owph_aaaaaaaaaaaaaaaaaaaaaaaa", "sk_live_bbbbbbbbbbbbbbbbbbbbbbbb"

func placeholder(name, p, v string, in Places) Credential {
	return Credential{Name: name, Version: "1", Form: Placeholder, Placeholder: p, In: in, Value: value(v)}
}

// TestPlaceholders are swapped where they may stand and nowhere else, in the way
// that the place writes values; only what was asked for is on record.
func TestPlaceholders(t *testing.T) {
	all := InHeader | InQuery | InPath | InBody
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, tt := range []struct {
		name          string
		in            Places
		target, field string
		kind, content string
		want          string // target, fields
		leaves        string
		asked         int
	}{
		{"header", all, "/", "X-Key: Token " + bait1, "", "", "POST /\nX-Key: Token s/\"1", "", 1},
		{"basic", all, "/", "authorization: " + basic("u:"+bait1), "", "", "POST /\nauthorization: " + basic("u:s/\"1"), "", 1},
		{"two", all, "/", "X-Key: " + bait1 + "," + bait2, "", "", "POST /\nX-Key: s/\"1,two", "", 2},
		{"query", all, "/?k=" + bait1 + "&x=%2F", "", "", "", "POST /?k=s%2F%221&x=%2F", "", 1},
		{"path", all, "/a/" + bait1 + "?x", "", "", "", "POST /a/s%2F%221?x", "", 1},
		{"json", all, "/", "", "application/json", `{"k":"` + bait1 + `"}`, "POST /\nContent-Type: application/json", `{"k":"s/\"1"}`, 1},
		{"form", all, "/", "", "application/x-www-form-urlencoded", "k=" + bait1, "POST /\nContent-Type: application/x-www-form-urlencoded", "k=s%2F%221", 1},
		{"text", all, "/", "", "text/plain", "k " + bait1, "POST /\nContent-Type: text/plain", `k s/"1`, 1},
		{"not there", InQuery, "/" + bait1, "X-Key: " + bait1, "", "", "POST /" + bait1 + "\nX-Key: " + bait1, "", 0},
		{"not asked for", all, "/", "X-Key: x", "text/plain", "x", "POST /\nX-Key: x\nContent-Type: text/plain", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan(t, placeholder("one", bait1, `s/"1`, tt.in), placeholder("two", bait2, "two", tt.in))
			h := request(tt.target)
			if tt.field != "" {
				h = request(tt.target, tt.field)
			}
			if tt.kind != "" {
				h.fields = append(h.fields, [2]string{"Content-Type", tt.kind})
			}
			_, done, err := p.Apply(permit(p, h), h, Content{Bytes: []byte(tt.content), Limit: 1 << 10}, now)
			if err != nil || h.String() != tt.want || string(h.content) != tt.leaves {
				t.Errorf("%v: sent\n%s\n%q, want\n%s\n%q", err, h, h.content, tt.want, tt.leaves)
			}
			if len(done.Credentials) != tt.asked {
				t.Errorf("applied %+v", done)
			}
		})
	}
}

// TestMint: what is minted looks as asked, tells nothing, is the same every time
// and another for every route, secret, shape and key.
func TestMint(t *testing.T) {
	minter := func(key string) *Minter {
		m, err := NewMinter(value(key))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := minter(strings.Repeat("a", 32)), minter(strings.Repeat("b", 32))
	seen := map[string]bool{}
	for _, m := range []*Minter{a, b} {
		for _, route := range []string{"r", "s"} {
			for _, name := range []string{"x", "y"} {
				for _, f := range []PlaceholderFormat{{}, {Prefix: "sk_live_", Length: 40}, {Shape: "jwt"}, {Shape: "aws"}} {
					got, err := m.Mint(route, name, f)
					again, _ := m.Mint(route, name, f)
					if err != nil || got != again || seen[got] {
						t.Fatalf("%v %s %s: %q, then %q, %v", f, route, name, got, again, err)
					}
					seen[got] = true
					if _, err := NewPlan([]Credential{placeholder(name, got, "secret", InHeader)}); err != nil {
						t.Errorf("%q is no placeholder: %v", got, err)
					}
				}
			}
		}
	}
	sk, _ := a.Mint("r", "x", PlaceholderFormat{Prefix: "sk_live_", Length: 40})
	jwt, _ := a.Mint("r", "x", PlaceholderFormat{Shape: "jwt"})
	aws, _ := a.Mint("r", "x", PlaceholderFormat{Shape: "aws"})
	if len(sk) != 40 || !strings.HasPrefix(sk, "sk_live_") || len(aws) != 20 || !strings.HasPrefix(aws, "AKIA") || strings.ToUpper(aws) != aws {
		t.Errorf("%q %q", sk, aws)
	}
	pieces := strings.Split(jwt, ".")
	for i := range pieces {
		raw, err := base64.RawURLEncoding.DecodeString(pieces[i])
		if len(pieces) != 3 || err != nil || i < 2 && !json.Valid(raw) {
			t.Errorf("%q is no JWT: %v", jwt, err)
		}
	}
	for _, f := range []PlaceholderFormat{{Length: 10}, {Prefix: "a b", Length: 40}, {Shape: "pem"}, {Length: 1000}} {
		if got, err := a.Mint("r", "x", f); !errors.Is(err, ErrPlaceholder) || got != "" {
			t.Errorf("%+v: %q, %v", f, got, err)
		}
	}
	if _, err := NewMinter(value("short")); !errors.Is(err, ErrPlaceholder) {
		t.Errorf("a short key: %v", err)
	}
}

// TestMisusedPlaceholders: seen under another plan, or none, wherever in the head.
func TestMisusedPlaceholders(t *testing.T) {
	own := plan(t, placeholder("one", bait1, "secret", InHeader))
	same := plan(t, placeholder("one", bait1, "secret", InHeader))
	other := plan(t, placeholder("two", bait2, "secret", InHeader), Credential{Form: Bearer, Value: value("t")})
	all := NewPlaceholders(own, nil, other)
	for _, h := range []*head{
		request("/?x=" + bait1), request("/" + bait1), request("/", "X: a"+bait1+"b"),
		request("/", "Authorization: BASIC "+base64.StdEncoding.EncodeToString([]byte("u:"+bait1))),
	} {
		for p, misused := range map[*Plan]bool{own: false, same: false, other: true, nil: true} {
			if name, got := all.Misused(h, p); got != misused || misused && name != "one" {
				t.Errorf("%s: %q %v, want %v", h, name, got, misused)
			}
		}
	}
	if name, got := all.Misused(request("/", "X: y"), nil); got {
		t.Errorf("nothing there, and %q is misused", name)
	}
	if none := NewPlaceholders(nil, &Plan{}); none != nil {
		t.Error("placeholders of no plan")
	}
	if _, got := (*Placeholders)(nil).Misused(request("/?"+bait1), nil); got {
		t.Error("nil finds something")
	}
}

// TestSwapsThatGrow: content that would be too large once it is changed is refused
// before anything of that size is made.
func TestSwapsThatGrow(t *testing.T) {
	p := plan(t, placeholder("one", bait1, strings.Repeat("s", 4<<10), InBody))
	h := request("/x", "Content-Type: text/plain")
	content := Content{Bytes: bytes.Repeat([]byte(bait1), (1<<20)/len(bait1)), Limit: 1 << 20}
	leave := permit(p, h)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := p.Apply(leave, h, content, now)
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, flow.ReasonBodyTooLarge) || made > 4<<20 {
		t.Errorf("%v, %d bytes were made for it", err, made)
	}
}

// TestSwapInXML: the value stands in a text or an attribute as it is, whatever it has.
func TestSwapInXML(t *testing.T) {
	const v = `a&b<c>"d'e]]>é`
	for _, kind := range []string{"text/xml", "application/xml; charset=utf-8", "application/soap+xml"} {
		p := plan(t, placeholder("one", bait1, v, InBody))
		h, err := edited(t, p, kind, `<call key="`+bait1+`"><key>`+bait1+`</key></call>`)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Attr string `xml:"key,attr"`
			Text string `xml:"key"`
		}
		if err := xml.Unmarshal(h.content, &got); err != nil || got.Attr != v || got.Text != v {
			t.Errorf("%s: %+v, %v\n%s", kind, got, err, h.content)
		}
	}
}

// TestSwapBesideACookie: where one cookie is ours the others are the workload's, and
// placeholders in them are replaced as in any field.
func TestSwapBesideACookie(t *testing.T) {
	p := plan(t, placeholder("one", bait1, "secret", InHeader), Credential{Form: Cookie, Field: "session", Value: value("s3")})
	h := request("/", "Cookie: a=1; key="+bait1+"; session=evil")
	done := apply(t, p, h)
	if got := h.values("cookie"); len(got) != 1 || got[0] != "session=s3; a=1; key=secret" || len(done.Credentials) != 2 {
		t.Errorf("%q, %+v", got, done)
	}
}
