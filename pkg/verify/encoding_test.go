package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestReEncoded: the bytes of a signature in other letters are another message to a
// cache that looks at letters, so they are refused.
func TestReEncoded(t *testing.T) {
	for _, s := range senders(t) {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			v := verifier(t, &s, nil, start)
			for _, spelling := range []func(string) string{upperTail, withoutPadding, spareBits, spaced} {
				for i := range 16 { // a signature of digits alone has no upper case
					r := s.sign(t, start)
					if again := respell(&r, spelling); !again {
						break
					}
					if _, err := v.Verify(&r); err == nil {
						t.Errorf("try %d: accepted %v %s", i, r.Fields, r.Target)
					}
				}
			}
		})
	}
}

// respell changes the signature of r where it stands; false if that made no difference.
func respell(r *Request, spelling func(string) string) bool {
	for i, f := range r.Fields {
		switch strings.ToLower(f.Name) {
		case "authorization", "signature", "x-signature", "x-hub-signature-256", "stripe-signature", "x-slack-signature", "webhook-signature":
			at := strings.LastIndexAny(strings.TrimRight(f.Value, "=:"), "=:,") + 1
			r.Fields[i].Value = f.Value[:at] + spelling(f.Value[at:])
			return r.Fields[i].Value != f.Value
		}
	}
	at := strings.LastIndex(r.Target, "X-Amz-Signature=") + len("X-Amz-Signature=")
	target := r.Target[:at] + spelling(r.Target[at:])
	changed := target != r.Target
	r.Target = target
	return changed
}

// upperTail is hex in the other case.
func upperTail(s string) string {
	if len(s) != 64 {
		return s
	}
	return strings.ToUpper(s)
}

func withoutPadding(s string) string {
	if strings.HasSuffix(s, ":") {
		return strings.TrimRight(s, "=:") + ":"
	}
	return strings.TrimRight(s, "=")
}

// spareBits changes what base64 leaves unused before its padding.
func spareBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	end := strings.IndexByte(s, '=')
	if end < 1 {
		return s
	}
	last := strings.IndexByte(alphabet, s[end-1])
	return s[:end-1] + string(alphabet[last+1]) + s[end:]
}

func spaced(s string) string { return s[:len(s)/2] + " " + s[len(s)/2:] }

// TestTwin: whoever saw an ECDSA signature can make another that verifies; the cache
// knows both as one.
func TestTwin(t *testing.T) {
	for _, key := range httpsigKeys(t) {
		if key.Algorithm() != httpsig.ECDSAP256SHA256 {
			continue
		}
		s := httpsigSender(t, key)
		r := s.sign(t, start)
		twin := r
		twin.Fields = append([]Field(nil), r.Fields...)
		last := &twin.Fields[len(twin.Fields)-1]
		last.Value = mirrored(t, last.Value)
		v := verifier(t, &s, open(t, "", 16, start.Add(-2*window)), start)
		if _, err := v.Verify(&r); err != nil {
			t.Fatal(err)
		}
		if last.Value == r.Fields[len(r.Fields)-1].Value {
			t.Fatal("no twin was made")
		}
		if _, err := v.Verify(&twin); err == nil {
			t.Error("the twin was accepted")
		}
	}
}

func TestSigV4Refuses(t *testing.T) {
	for name, tt := range map[string]struct {
		scheme SigV4
		from   sender
		want   error
	}{
		"unsigned body": {SigV4{Keys: []sigv4.Credentials{credentials()}}, awsSender("", sigv4.UnsignedPayload, false), ErrUncovered},
		"other key":     {SigV4{Keys: []sigv4.Credentials{{AccessKeyID: "AKIDOTHER", SecretKey: value("x")}}}, awsSender("", "", false), ErrKey},
		"other region":  {SigV4{Keys: []sigv4.Credentials{credentials()}, Region: "us-east-1"}, awsSender("", "", false), sigv4.ErrMismatch},
		"other service": {SigV4{Keys: []sigv4.Credentials{credentials()}, Service: "s3"}, awsSender("", "", false), sigv4.ErrMismatch},
	} {
		r := tt.from.sign(t, start)
		if _, err := tt.scheme.Check(&r, start); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	allowed := SigV4{Keys: []sigv4.Credentials{credentials()}, Unsigned: true}
	s := awsSender("", sigv4.UnsignedPayload, false)
	r := s.sign(t, start)
	if _, err := allowed.Check(&r, start); err != nil {
		t.Errorf("an unsigned body that is allowed: %v", err)
	}
}
