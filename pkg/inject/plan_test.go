package inject

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/secret"
)

func signer(t testing.TB, nonce bool) *HMAC {
	t.Helper()
	s, err := hmacsig.Preset("knoxcall")
	if err != nil {
		t.Fatal(err)
	}
	return &HMAC{Name: "hmac", Version: "3", Scheme: s, Key: value("key"), Nonce: nonce}
}

func header(field, v string) Credential {
	return Credential{Name: field, Form: Header, Field: field, Value: value(v)}
}

func query(field, v string) Credential {
	return Credential{Name: field, Form: Query, Field: field, Value: value(v)}
}

// TestControlBytesAreRefused: in every form and place, when the plan is made.
func TestControlBytesAreRefused(t *testing.T) {
	for _, c := range []string{"\r", "\n", "\r\nX-Evil: 1", "\x00", "\x01", "\x1f", "\x7f"} {
		for _, form := range []Form{Bearer, Basic, Header, Query} {
			for _, v := range []string{"a:b" + c, c + "a:b", "a:" + c + "b"} {
				bad := Credential{Name: "bad", Form: form, Field: "X-Key", Value: value(v)}
				_, err := NewPlan([]Credential{bad}, nil)
				if !errors.Is(err, secret.ErrControlByte) || strings.Contains(err.Error(), "a:") {
					t.Errorf("%v %q: %v", form, v, err)
				}
			}
		}
		for name, bad := range map[string]Credential{
			"prefix":    {Form: Header, Field: "X-Key", Prefix: "Token" + c, Value: value("x")},
			"user name": {Form: Basic, Username: "a" + c, Value: value("x")},
			"user":      {Form: Basic, Value: value("a" + c + ":x")},
			"field":     header("X-Key"+c, "x"),
		} {
			if _, err := NewPlan([]Credential{bad}, nil); err == nil {
				t.Errorf("%s with %q is taken", name, c)
			}
		}
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	bearer := Credential{Name: "b", Form: Bearer, Value: value("t")}
	for _, tt := range []struct {
		name        string
		credentials []Credential
		signer      Signer
		want        error
	}{
		{"empty secret", []Credential{{Name: "b", Form: Bearer}}, nil, ErrEmpty},
		{"bearer with a space", []Credential{{Form: Bearer, Value: value("a b")}}, nil, ErrValue},
		{"bearer with a tab", []Credential{{Form: Bearer, Value: value("a\tb")}}, nil, ErrValue},
		{"basic without a user", []Credential{{Form: Basic, Value: value("pw")}}, nil, ErrValue},
		{"basic user with a colon", []Credential{{Form: Basic, Username: "a:b", Value: value("pw")}}, nil, ErrValue},
		{"value ends in a space", []Credential{header("X-Key", "a ")}, nil, ErrValue},
		{"value begins with a tab", []Credential{header("X-Key", "\ta")}, nil, ErrValue},
		{"no form", []Credential{{Value: value("a")}}, nil, ErrValue},
		{"signature as a form", []Credential{{Form: Signed, Field: "X", Value: value("a")}}, nil, ErrValue},
		{"no field", []Credential{header("", "a")}, nil, ErrField},
		{"field with a space", []Credential{header("X Key", "a")}, nil, ErrField},
		{"field with a colon", []Credential{header(":path", "a")}, nil, ErrField},
		{"field beyond ASCII", []Credential{header("X-Kéy", "a")}, nil, ErrField},
		{"Host", []Credential{header("host", "a")}, nil, ErrField},
		{"Content-Length", []Credential{header("Content-Length", "1")}, nil, ErrField},
		{"Transfer_Encoding", []Credential{header("Transfer_Encoding", "chunked")}, nil, ErrField},
		{"Content-Type", []Credential{header("Content-Type", "a")}, nil, ErrField},
		{"Connection", []Credential{header("CONNECTION", "a")}, nil, ErrField},
		{"no parameter", []Credential{query("", "a")}, nil, ErrField},
		{"two bearers", []Credential{bearer, bearer}, nil, ErrSlotTaken},
		{"bearer and basic", []Credential{bearer, {Form: Basic, Username: "u", Value: value("p")}}, nil, ErrSlotTaken},
		{"bearer and its header", []Credential{bearer, header("AUTHORIZATION", "x")}, nil, ErrSlotTaken},
		{"dash and underscore", []Credential{header("X-Key", "a"), header("x_key", "b")}, nil, ErrSlotTaken},
		{"one parameter twice", []Credential{query("key", "a"), query("key", "b")}, nil, ErrSlotTaken},
		{"header of the signer", []Credential{header("x-signature", "a")}, signer(t, false), ErrSlotTaken},
		{"nonce of the signer", []Credential{header("X_Nonce", "a")}, signer(t, false), ErrSlotTaken},
		{"signer without a key", nil, &HMAC{Scheme: signer(t, false).Scheme}, ErrEmpty},
		{"signer without a scheme", nil, &HMAC{Key: value("k")}, hmacsig.ErrUnknownPreset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := NewPlan(tt.credentials, tt.signer); !errors.Is(err, tt.want) || p != nil {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func gathers(t testing.TB, p *Plan) Gathering {
	t.Helper()
	why, err := p.Gathers(request("/"))
	if err != nil {
		t.Fatal(err)
	}
	return why
}

func TestPlanTellsWhatItWillDo(t *testing.T) {
	p, err := NewPlan([]Credential{
		{Name: "token", Version: "1", Form: Bearer, Value: value("t")}, query("api key", "q"), header("X-Tenant", "x"),
	}, signer(t, true))
	if err != nil {
		t.Fatal(err)
	}
	if p.Empty() || gathers(t, p) != GatherToSign {
		t.Error("Empty, or nothing is gathered for the signature")
	}
	if got, want := fmt.Sprint(p.Uses()), "[{token 1 bearer} {api key  query} {X-Tenant  header} {hmac 3 signature}]"; got != want {
		t.Errorf("uses %s, want %s", got, want)
	}
	for name, want := range map[string]bool{
		"Authorization": true, "AUTHORIZATION": true, "x_tenant": true, "X.Tenant": true, "x-nonce": true, "X-SIGNATURE": true,
		"X-Timestamp": true, "X-Tenants": false, "Content-Type": false, "": false,
	} {
		if p.Owns([]byte(name)) != want || p.OwnsString(name) != want {
			t.Errorf("owns %q: not %v", name, want)
		}
	}
	for _, empty := range []*Plan{nil, {}} {
		if !empty.Empty() || gathers(t, empty) != GatherNothing || empty.Key() != "" || empty.Uses() != nil || empty.OwnsString("authorization") {
			t.Error("an empty plan does something")
		}
	}
}

// TestKeyTellsVersionsApart: no two plans that use other credentials share pooled
// connections, whatever the names look like.
func TestKeyTellsVersionsApart(t *testing.T) {
	seen := map[string]string{}
	for _, c := range [][]Credential{
		{{Name: "a", Version: "1"}}, {{Name: "a", Version: "2"}}, {{Name: "b", Version: "1"}},
		{{Name: "a@1", Version: ""}}, {{Name: "a", Version: `1" header:"b"@"1`}}, {{Name: "a", Version: "1"}, {Name: "b", Version: "1"}},
	} {
		for i := range c {
			c[i].Form, c[i].Field, c[i].Value = Header, fmt.Sprintf("X-%d", i), value("v")
		}
		p, err := NewPlan(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[p.Key()]; ok {
			t.Errorf("%v and %s share the key %s", p.Uses(), other, p.Key())
		}
		seen[p.Key()] = fmt.Sprint(p.Uses())
	}
}

func TestPlanDoesNotPrint(t *testing.T) {
	p, err := NewPlan([]Credential{{Name: "n", Form: Bearer, Value: value("canary-1")}, query("q", "canary-2")}, signer(t, true))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		out := fmt.Sprintf(verb, p) + fmt.Sprintf(verb, *p) + fmt.Sprintf(verb, p.fields) + fmt.Sprintf(verb, *p.signers[0].(*HMAC))
		if strings.Contains(out, "canary") || strings.Contains(out, fmt.Sprintf("%x", "canary")) || strings.Contains(out, "99 97 110") {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

// TestInjected: whoever scrubs responses is told of every value, as the API may send
// it back, and of what to put in its place. A key that only signs does not go out.
func TestInjected(t *testing.T) {
	p, err := NewPlan([]Credential{
		{Name: "b", Form: Basic, Username: "user", Value: value("pw")}, query("key", "k v"), header("X-Key", "h"), placeholder("one", bait1, "s", InBody),
	}, signer(t, true))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range p.Injected() {
		got = append(got, i.Name+"="+string(i.Value.Reveal())+i.Placeholder)
	}
	if want := "b=pw key=k v X-Key=h b=user:pw one=s" + bait1; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	if (*Plan)(nil).Injected() != nil {
		t.Error("no plan injects something")
	}
}
