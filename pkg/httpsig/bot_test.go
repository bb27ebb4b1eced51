package httpsig

import (
	"errors"
	"testing"
	"time"
)

// TestBot: a bot's signature names its key by thumbprint and covers its agent.
func TestBot(t *testing.T) {
	key := allKeys(t)[1]
	m := message()
	fields, err := SignBot(&m, key, "https://bot.example", created, time.Hour, NewNonce())
	if err != nil || len(fields) != 3 || fields[0].Value != `"https://bot.example"` {
		t.Fatalf("%v, %v", fields, err)
	}
	m.Fields = append(m.Fields, fields...)
	id, err := Thumbprint(key.public)
	if err != nil {
		t.Fatal(err)
	}
	policy := Policy{Required: parts(t, "@authority", "signature-agent"), Tag: BotTag, Nonce: true, MaxAge: 24 * time.Hour}
	v, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, policy, created)
	if err != nil || v.Params.KeyID != id || !v.Params.Expires.Equal(created.Add(time.Hour)) {
		t.Fatalf("%+v, %v", v, err)
	}
	m.Fields[len(m.Fields)-3].Value = `"https://other.example"`
	if _, err := Verify(&m, "", func(Params) (*Key, error) { return key, nil }, policy, created); !errors.Is(err, ErrMismatch) {
		t.Errorf("other agent: %v", err)
	}
	plain := message()
	if _, err := SignBot(&plain, shared(t), "", created, time.Hour, "n"); !errors.Is(err, ErrKey) {
		t.Errorf("shared key: %v", err)
	}
	if _, err := SignBot(&plain, key, "", created, 25*time.Hour, "n"); !errors.Is(err, ErrPolicy) {
		t.Errorf("too long: %v", err)
	}
}
