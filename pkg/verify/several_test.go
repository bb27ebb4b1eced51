package verify

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/replay"
)

// rotating is a sender that signs by two keys while one is replaced.
type rotating struct {
	scheme Scheme
	sign   func(t *testing.T, by ...int) Request // by those keys
}

func rotatingHMAC(t *testing.T, preset string) rotating {
	t.Helper()
	scheme, err := hmacsig.TemplatePreset(preset)
	if err != nil {
		t.Fatal(err)
	}
	keys := []SharedKey{{"old", value("b2xk")}, {"new", value("bmV3")}}
	return rotating{&HMAC{scheme, keys}, func(t *testing.T, by ...int) Request {
		r := plain()
		r.Fields = nil
		var secrets [][]byte
		for _, i := range by {
			secrets = append(secrets, keys[i].Value.Reveal())
		}
		fields, err := scheme.SignAll(secrets, &hmacsig.Message{Time: start, Nonce: "id", Body: strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			r.Fields = append(r.Fields, Field(f))
		}
		return r
	}}
}

func rotatingHTTPSig(t *testing.T) rotating {
	t.Helper()
	components, err := httpsig.Components("@method", "@target-uri", "content-digest")
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]*httpsig.Key, 2)
	for i := range keys {
		if keys[i], err = httpsig.SharedKey(fmt.Sprint("key ", i), value(fmt.Sprint("secret ", i))); err != nil {
			t.Fatal(err)
		}
	}
	return rotating{&HTTPSig{Keys: keys}, func(t *testing.T, by ...int) Request {
		r := plain()
		digest, err := httpsig.Digest(r.Body, "sha-256")
		if err != nil {
			t.Fatal(err)
		}
		r.Fields = []Field{{"Content-Digest", digest}}
		m := httpsig.Message{Method: r.Method, Authority: r.Host, Target: r.Target, Fields: []httpsig.Field{{Name: "Content-Digest", Value: digest}}}
		for _, i := range by {
			s := httpsig.Signer{Label: fmt.Sprint("sig", i), Key: keys[i], Components: components}
			fields, err := s.Sign(&m, httpsig.Params{Created: start, Nonce: fmt.Sprint("nonce ", i)})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fields {
				r.Fields = append(r.Fields, Field(f))
			}
		}
		return r
	}}
}

// TestReplayByTheOtherSignature: a request that bears two signatures is no new one
// when somebody takes either off.
func TestReplayByTheOtherSignature(t *testing.T) {
	for name, s := range map[string]rotating{
		"stripe": rotatingHMAC(t, "stripe"), "standard-webhooks": rotatingHMAC(t, "standard-webhooks"), "httpsig": rotatingHTTPSig(t),
	} {
		t.Run(name, func(t *testing.T) {
			for _, by := range [][2][]int{{{0, 1}, {0}}, {{0, 1}, {1}}, {{1, 0}, {0}}, {{0}, {0, 1}}, {{1}, {0, 1}}} {
				v := verifier(t, &sender{scheme: s.scheme}, open(t, "", 16, start.Add(-skew*2)), start)
				first, second := s.sign(t, by[0]...), s.sign(t, by[1]...)
				if _, err := v.Verify(&first); err != nil {
					t.Errorf("signed by %v: %v", by[0], err)
				}
				if _, err := v.Verify(&second); !errors.Is(err, replay.ErrReplayed) {
					t.Errorf("signed by %v, then by %v: %v", by[0], by[1], err)
				}
			}
		})
	}
}

// TestSharedKeysAreOne: with shared keys it is known what the other signature would
// be, so each of the two alone is no new request either.
func TestSharedKeysAreOne(t *testing.T) {
	s := rotatingHMAC(t, "stripe")
	v := verifier(t, &sender{scheme: s.scheme}, open(t, "", 16, start.Add(-skew*2)), start)
	first, second := s.sign(t, 0), s.sign(t, 1)
	if _, err := v.Verify(&first); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&second); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("by the other key: %v", err)
	}
}

// TestTooManySignatures: what is not looked at could be sent alone later.
func TestTooManySignatures(t *testing.T) {
	s := rotatingHTTPSig(t)
	r := s.sign(t, 0, 1)
	for i := range most - 1 {
		r.Fields = append([]Field{{"Signature-Input", fmt.Sprintf(`x%d=();keyid="x"`, i)}}, r.Fields...)
	}
	if _, err := verifier(t, &sender{scheme: s.scheme}, nil, start).Verify(&r); !errors.Is(err, httpsig.ErrMalformed) {
		t.Errorf("%v", err)
	}
}

// TestKeysOfOneID: a key that is replaced may keep its id, and the new one another
// algorithm.
func TestKeysOfOneID(t *testing.T) {
	keys := httpsigKeys(t)
	for i, key := range keys {
		s := httpsigSender(t, key)
		s.scheme = &HTTPSig{Keys: keys}
		r := s.sign(t, start)
		p, err := verifier(t, &s, nil, start).Verify(&r)
		if err != nil || p.KeyID != key.ID() {
			t.Errorf("key %d, %s: %+v, %v", i, key.Algorithm(), p, err)
		}
	}
	stranger, err := httpsig.SharedKey("k", value("stranger"))
	if err != nil {
		t.Fatal(err)
	}
	s := httpsigSender(t, stranger)
	s.scheme = &HTTPSig{Keys: keys}
	r := s.sign(t, start)
	if _, err := verifier(t, &s, nil, start).Verify(&r); !errors.Is(err, httpsig.ErrMismatch) {
		t.Errorf("by a stranger's key: %v", err)
	}
	other, err := httpsig.SharedKey("other", value("stranger"))
	if err != nil {
		t.Fatal(err)
	}
	s = httpsigSender(t, other)
	s.scheme = &HTTPSig{Keys: keys}
	r = s.sign(t, start)
	if _, err := verifier(t, &s, nil, start).Verify(&r); !errors.Is(err, ErrKey) {
		t.Errorf("by an id that nobody has: %v", err)
	}
}

// TestOneRequestIsNoReplayOfItself: keys that share their id, a key that is listed
// twice, and one signature under two labels.
func TestOneRequestIsNoReplayOfItself(t *testing.T) {
	hooks, messages := rotatingHMAC(t, "standard-webhooks"), rotatingHTTPSig(t)
	h := hooks.scheme.(*HMAC)
	h.Keys[1].ID = h.Keys[0].ID
	h.Keys = append(h.Keys, h.Keys[0])
	twice := messages.sign(t, 0)
	for _, f := range twice.Fields[1:] {
		twice.Fields = append(twice.Fields, Field{f.Name, strings.Replace(f.Value, "sig0", "again", 1)})
	}
	for name, c := range map[string]struct {
		scheme Scheme
		r      Request
	}{"one id": {hooks.scheme, hooks.sign(t, 0, 1)}, "two labels": {messages.scheme, twice}} {
		v := verifier(t, &sender{scheme: c.scheme}, open(t, "", 16, start.Add(-skew*2)), start)
		if _, err := v.Verify(&c.r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.Verify(&c.r); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}
