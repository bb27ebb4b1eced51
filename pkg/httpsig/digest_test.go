package httpsig

import (
	"errors"
	"strings"
	"testing"
)

// TestDigest: the values of RFC 9530 appendix D.
func TestDigest(t *testing.T) {
	body := []byte("{\"hello\": \"world\"}\n")
	for alg, want := range map[string]string{
		"sha-256": "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
		"sha-512": "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:",
	} {
		if got, err := Digest(body, alg); err != nil || got != want {
			t.Errorf("%s: %q, %v", alg, got, err)
		}
	}
	good, err := Digest(body, "sha-256")
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]error{
		good:                                nil,
		good + ", md5=:AAAA:":               nil,
		good + ", sha-512=:AAAA:":           ErrDigest,
		"md5=:AAAA:":                        ErrDigest,
		"sha-256=x":                         ErrDigest,
		"sha-256=(":                         ErrDigest,
		"sha-256=:AAAA:":                    ErrDigest,
		strings.Replace(good, "RK", "R", 1): ErrDigest,
	} {
		m := Message{Fields: []Field{{"content-digest", value}}}
		if err := CheckDigest(&m, "Content-Digest", body); !errors.Is(err, want) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := Digest(body, "md5"); !errors.Is(err, ErrDigest) {
		t.Errorf("md5: %v", err)
	}
	if err := CheckDigest(&Message{}, "content-digest", nil); !errors.Is(err, ErrDigest) {
		t.Errorf("none: %v", err)
	}
}
