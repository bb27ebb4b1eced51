package httpsig

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPolicy(t *testing.T) {
	sign := func(p Params) Message {
		m := message()
		fields, err := (&Signer{Label: "l", Key: shared(t), Components: parts(t, "@method")}).Sign(&m, p)
		if err != nil {
			t.Fatal(err)
		}
		m.Fields = append(m.Fields, fields...)
		return m
	}
	full := Params{Created: created, Expires: created.Add(time.Minute), Nonce: "n", Tag: "t"}
	for name, tt := range map[string]struct {
		p      Params
		policy Policy
		at     time.Duration
		want   error
	}{
		"fits":         {full, Policy{Required: parts(t, "@method"), Tag: "t", MaxAge: time.Minute, Nonce: true}, 0, nil},
		"not covered":  {full, Policy{Required: parts(t, "@path")}, 0, ErrPolicy},
		"other tag":    {full, Policy{Tag: "u"}, 0, ErrUnsigned},
		"no nonce":     {Params{Created: created}, Policy{Nonce: true}, 0, ErrPolicy},
		"no created":   {Params{}, Policy{MaxAge: time.Minute}, 0, ErrPolicy},
		"early":        {full, Policy{}, -time.Second, ErrEarly},
		"within skew":  {full, Policy{Skew: time.Second}, -time.Second, nil},
		"expired":      {full, Policy{}, time.Minute, ErrExpired},
		"old":          {Params{Created: created}, Policy{MaxAge: time.Minute}, time.Minute + 1, ErrExpired},
		"just in time": {Params{Created: created}, Policy{MaxAge: time.Minute}, time.Minute, nil},
	} {
		m := sign(tt.p)
		v, err := Verify(&m, "", func(Params) (*Key, error) { return shared(t), nil }, tt.policy, created.Add(tt.at))
		if !errors.Is(err, tt.want) || err == nil && (v.Label != "l" || v.Params.KeyID != "k" || len(v.Canonical) != 32) {
			t.Errorf("%s: %v, %+v", name, err, v)
		}
	}
}

// TestOtherSignatures: what somebody else signed, with another tag, is no concern of
// who asks for his own, whether it can be understood or not.
func TestOtherSignatures(t *testing.T) {
	for _, other := range []string{`a=("@method");tag="u"`, `a=("@method" "x";new);tag="u"`, `a=("@method" "@method")`, `a=();created="x"`, "a", "a=1"} {
		m := message()
		m.Fields = append(m.Fields, Field{"Signature-Input", other}, Field{"Signature", "a=:AA==:"})
		fields, err := (&Signer{Label: "l", Key: shared(t), Components: parts(t, "@method")}).Sign(&m, Params{Tag: "t"})
		if err != nil {
			t.Fatal(err)
		}
		m.Fields = append(m.Fields, fields...)
		v, err := Verify(&m, "", func(Params) (*Key, error) { return shared(t), nil }, Policy{Tag: "t"}, created)
		if err != nil || v.Label != "l" {
			t.Errorf("beside %s: %v", other, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	good := message()
	fields, err := (&Signer{Label: "l", Key: shared(t), Components: parts(t, "@method")}).Sign(&good, Params{Alg: "hmac-sha256"})
	if err != nil {
		t.Fatal(err)
	}
	find := func(Params) (*Key, error) { return shared(t), nil }
	in, sig := fields[0].Value, fields[1].Value
	for name, tt := range map[string]struct {
		input, signature string
		want             error
	}{
		"none":           {"", "", ErrUnsigned},
		"no signature":   {in, "", ErrUnsigned},
		"other label":    {in, strings.Replace(sig, "l=", "m=", 1), ErrUnsigned},
		"not a list":     {"l=1", sig, ErrMalformed},
		"not bytes":      {in, `l="x"`, ErrMalformed},
		"list signature": {in, "l=(1)", ErrMalformed},
		"syntax":         {"l=(", sig, ErrMalformed},
		"other alg":      {strings.Replace(in, "hmac-sha256", "ed25519", 1), sig, ErrKey},
		"created string": {in + `;created="x"`, sig, ErrMalformed},
		"more params":    {in + ";x=1", sig, ErrMismatch},
		"two":            {in + ", m=();created=1", sig, ErrMalformed},
	} {
		m := message()
		m.Fields = append(m.Fields, Field{"signature-input", tt.input}, Field{"signature", tt.signature})
		if _, err := Verify(&m, "", find, Policy{}, created); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	good.Fields = append(good.Fields, fields...)
	for name, tt := range map[string]struct {
		keys func(Params) (*Key, error)
		want error
	}{"no key": {func(Params) (*Key, error) { return nil, nil }, ErrMismatch}, "error": {func(Params) (*Key, error) { return nil, ErrKey }, ErrKey}} {
		if _, err := Verify(&good, "l", tt.keys, Policy{}, created); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if labels, err := Labels(&good); err != nil || len(labels) != 1 || labels[0] != "l" {
		t.Errorf("labels %v, %v", labels, err)
	}
	for _, label := range []string{"l", "", "L", "a b", "1"} {
		if _, err := (&Signer{Label: label, Key: shared(t)}).Sign(&good, Params{}); !errors.Is(err, ErrLabel) {
			t.Errorf("label %q: %v", label, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(`l=("@method" "x-two";bs);created=1;keyid="k"`, "l=:AAAA:", "a=1, b=(1 2)")
	f.Add(`l=("@query-param";name="a" "x";key="b");alg="hmac-sha256"`, "l=:AAAA:", "b;x")
	key := shared(f)
	f.Fuzz(func(t *testing.T, input, signature, field string) {
		m := message()
		m.Fields = append(m.Fields, Field{"Signature-Input", input}, Field{"Signature", signature}, Field{"X", field})
		if _, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, Policy{}, created); err == nil {
			t.Fatalf("%q %q verifies", input, signature)
		}
		_ = CheckDigest(&m, "x", nil)
	})
}

// TestTooManyComponents: what is looked up for a stranger is bounded.
func TestTooManyComponents(t *testing.T) {
	for n, want := range map[int]error{mostComponents: nil, mostComponents + 1: ErrMalformed} {
		m := message()
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("x-", i))
			m.Fields = append(m.Fields, Field{names[i], ""})
		}
		fields, err := (&Signer{Label: "a", Key: shared(t), Components: parts(t, names...)}).Sign(&m, Params{})
		if err != nil {
			t.Fatal(err)
		}
		m.Fields = append(m.Fields, fields...)
		if _, err := Verify(&m, "a", func(Params) (*Key, error) { return shared(t), nil }, Policy{}, created); !errors.Is(err, want) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
