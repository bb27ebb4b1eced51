package hmacsig

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var key = []byte("partner-key")

func knoxcall(t testing.TB) Scheme {
	t.Helper()
	s, err := Preset("knoxcall")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func input() Input {
	return Input{
		Method: "POST", Target: "/api/v1/transfers?id=7&b=%2F", ContentType: "application/json",
		BodySHA256: sha256.Sum256([]byte(`{"amount":1}`)), Time: time.Unix(1_700_000_000, 999), Nonce: "n-1",
	}
}

// TestVectors: the signatures were computed with openssl dgst -sha256 -hmac over
// the strings that stand here.
func TestVectors(t *testing.T) {
	empty := sha256.Sum256(nil)
	for _, tt := range []struct {
		name      string
		edit      func(*Input)
		text      string
		signature string
	}{
		{"everything", func(*Input) {},
			"POST\n/api/v1/transfers?id=7&b=%2F\ncontent-type:application/json\nx-timestamp:1700000000\nx-nonce:n-1\n" +
				"c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e", "0735b015bd0e22bcd185da2493a024ae8fc128ab22c743fed0ba265f05816d69"},
		{"no nonce", func(in *Input) { in.Nonce = "" },
			"POST\n/api/v1/transfers?id=7&b=%2F\ncontent-type:application/json\nx-timestamp:1700000000\n" +
				"c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e", "3bb97e2e8c8667996c4eeec460b1b350cee06d7bfb8b27f5c9694044f209e80d"},
		{"no content type, no body", func(in *Input) {
			*in = Input{Method: "GET", Target: "/", Time: in.Time, BodySHA256: empty}
		},
			"GET\n/\ncontent-type:\nx-timestamp:1700000000\n" +
				"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bdfedc5dedd44e643dc0dcd188a6fb4b22961196fec6ddfb8592e426a592fae1"},
		{"empty query", func(in *Input) { in.Target = "/x?" },
			"POST\n/x?\ncontent-type:application/json\nx-timestamp:1700000000\nx-nonce:n-1\n" +
				"c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e", "1ed45ca3cb5b682d0ae77b07a10e7dd266cf5c6ea908f8ae86a19fd1a976d53d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, in := knoxcall(t), input()
			tt.edit(&in)
			if got := s.StringToSign(in); got != tt.text {
				t.Errorf("string to sign\n got %q\nwant %q", got, tt.text)
			}
			want := []Header{{"X-Timestamp", "1700000000"}}
			if in.Nonce != "" {
				want = append(want, Header{"X-Nonce", in.Nonce})
			}
			want = append(want, Header{"X-Signature", "sha256=" + tt.signature})
			if got := s.Sign(key, in); !slices.Equal(got, want) {
				t.Errorf("fields\n got %v\nwant %v", got, want)
			}
			if err := s.Verify(key, in, "sha256="+tt.signature); err != nil {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

// TestChangedByte: a signature verifies for what was signed and nothing else, for
// another key neither.
func TestChangedByte(t *testing.T) {
	s := knoxcall(t)
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~]{0,12}`)
		draw := func() Input {
			return Input{
				Method: word.Draw(t, "method"), Target: word.Draw(t, "target"), ContentType: word.Draw(t, "type"),
				Nonce: word.Draw(t, "nonce"), Time: time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "time"), 0),
				BodySHA256: sha256.Sum256([]byte(word.Draw(t, "body"))),
			}
		}
		a, b := draw(), draw()
		if rapid.Bool().Draw(t, "near") { // differ in one part alone
			c := a
			*[]*string{&c.Method, &c.Target, &c.ContentType, &c.Nonce}[rapid.IntRange(0, 3).Draw(t, "part")] = word.Draw(t, "other")
			b = c
		}
		fields := s.Sign(key, a)
		signature := fields[len(fields)-1].Value
		if err := s.Verify(key, a, signature); err != nil {
			t.Fatalf("own signature: %v", err)
		}
		if err := s.Verify(key, b, signature); (err == nil) != (a == b) {
			t.Fatalf("%+v signed, %+v verified: %v", a, b, err)
		}
		if err := s.Verify([]byte("partner-kez"), a, signature); !errors.Is(err, ErrMismatch) {
			t.Fatalf("other key: %v", err)
		}
	})
}

// TestAgainstPlainCode signs random inputs a second time, written plainly.
func TestAgainstPlainCode(t *testing.T) {
	s := knoxcall(t)
	rapid.Check(t, func(t *rapid.T) {
		in := input()
		in.Target = "/" + rapid.StringMatching(`[!-~]{0,700}`).Draw(t, "target")
		in.Nonce = rapid.StringMatching(`[0-9a-f]{0,32}`).Draw(t, "nonce")
		lines := []string{in.Method, in.Target, "content-type:" + in.ContentType, fmt.Sprint("x-timestamp:", in.Time.Unix())}
		if in.Nonce != "" {
			lines = append(lines, "x-nonce:"+in.Nonce)
		}
		lines = append(lines, fmt.Sprintf("%x", in.BodySHA256))
		mac := hmac.New(sha256.New, key)
		fmt.Fprint(mac, strings.Join(lines, "\n"))
		fields := s.Sign(key, in)
		if got, want := fields[len(fields)-1].Value, fmt.Sprintf("sha256=%x", mac.Sum(nil)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestMalformedSignature(t *testing.T) {
	s, in := knoxcall(t), input()
	fields := s.Sign(key, in)
	good := fields[len(fields)-1].Value
	for _, bad := range []string{
		"", "sha256=", good[:len(good)-1], good + "0", " " + good, good[7:], strings.ToUpper(good),
		"sha256=" + strings.ToUpper(good[7:]), "sha512=" + good[7:], "SHA256=" + good[7:],
		"sha256=" + strings.Repeat("g", 64), "sha256=" + strings.Repeat("\x00", 64),
	} {
		if err := s.Verify(key, in, bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := s.Verify(key, in, "sha256="+strings.Repeat("0", 64)); !errors.Is(err, ErrMismatch) {
		t.Errorf("zeroes: %v", err)
	}
}

// TestLineBreaksDoNotForge: these two would sign alike if they were let through.
func TestLineBreaksDoNotForge(t *testing.T) {
	s := knoxcall(t)
	a := Input{Method: "GET", Target: "/", ContentType: "x\nx-timestamp:1", Time: time.Unix(2, 0)}
	if err := a.Check(); !errors.Is(err, ErrControlByte) {
		t.Errorf("check: %v", err)
	}
	fields := s.Sign(key, a)
	if err := s.Verify(key, a, fields[len(fields)-1].Value); !errors.Is(err, ErrControlByte) {
		t.Errorf("verify: %v", err)
	}
	for _, c := range []string{"\x00", "\r", "\n", "\x1f", "\x7f"} {
		for i := range 4 {
			in := input()
			*[]*string{&in.Method, &in.Target, &in.ContentType, &in.Nonce}[i] += c
			if err := in.Check(); !errors.Is(err, ErrControlByte) {
				t.Errorf("%q in part %d: %v", c, i, err)
			}
		}
	}
	in := input()
	if err := in.Check(); err != nil {
		t.Errorf("good input: %v", err)
	}
}

func TestUnknownPreset(t *testing.T) {
	if _, err := Preset("nothing"); !errors.Is(err, ErrUnknownPreset) {
		t.Errorf("%v", err)
	}
	var zero Scheme
	if zero.Sign(key, input()) != nil || zero.Fields() != nil || zero.Verify(key, input(), "sha256=") == nil {
		t.Error("the zero scheme signs or verifies")
	}
}

func TestFieldsAreThoseThatSignWrites(t *testing.T) {
	s := knoxcall(t)
	for _, h := range s.Sign(key, input()) {
		if !slices.Contains(s.Fields(), h.Name) {
			t.Errorf("%s is written and not listed", h.Name)
		}
	}
	if len(s.Fields()) != 3 || s.Name() != "knoxcall" {
		t.Errorf("%s %v", s.Name(), s.Fields())
	}
}

func TestNonces(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		n := NewNonce()
		if b, err := hex.DecodeString(n); err != nil || len(b) != 16 || seen[n] {
			t.Fatalf("nonce %q: %v", n, err)
		}
		seen[n] = true
	}
}

func FuzzVerify(f *testing.F) {
	s := knoxcall(f)
	f.Fuzz(func(t *testing.T, method, target, contentType, nonce, signature string) {
		in := Input{Method: method, Target: target, ContentType: contentType, Nonce: nonce}
		if s.Verify(key, in, signature) == nil {
			t.Fatalf("%+v verifies with %q", in, signature)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s, in := knoxcall(b), input()
	for b.Loop() {
		s.Sign(key, in)
	}
}
