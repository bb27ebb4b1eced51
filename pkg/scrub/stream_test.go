package scrub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/secret"
)

const canary = "sk_live/4eC39+HqLyj\"WDar&jtT1z"

// inPieces scrubs text cut as cut says.
func inPieces(f *Filter, text string, cut func(left int) int, o Options, tally *Tally) string {
	s := f.Stream(o, tally)
	var b strings.Builder
	for len(text) > 0 {
		n := cut(len(text))
		b.Write(s.Next([]byte(text[:n])))
		text = text[n:]
	}
	b.Write(s.End(nil))
	return b.String()
}

// TestEveryEncodingAndSplit: a secret is found in every encoding, wherever the
// text is split in two, and one byte at a time; and what is around it stays.
func TestEveryEncodingAndSplit(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			coded := encode(canary)
			text := "before " + coded + " after"
			for split := range len(text) + 1 {
				var tally Tally
				first := true
				got := inPieces(f, text, func(left int) int {
					if first && split > 0 {
						first = false
						return split
					}
					return left
				}, Options{}, &tally)
				check(t, got, tally)
			}
			var tally Tally
			check(t, inPieces(f, text, func(int) int { return 1 }, Options{}, &tally), tally)
			if !f.Has([]byte(text)) {
				t.Error("Has does not see it")
			}
		})
	}
}

func check(t *testing.T, got string, tally Tally) {
	t.Helper()
	// In base64, what stood beside the secret stays.
	if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, "[redacted:token]") ||
		len(got) > len("before [redacted:token] after")+len("dXNlcjp") {
		t.Fatalf("%q", got)
	}
	if len(tally) != 1 || tally[0] != (Found{"token", 1}) {
		t.Fatalf("tally %v", tally)
	}
}

// TestAsTheOracle: in any pieces, the result is that of a regular expression on the
// whole text. So nothing is missed, and nothing found that is not there.
func TestAsTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := map[string]string{}
		var list []string
		for i := range rapid.IntRange(1, 3).Draw(t, "secrets") {
			s := secretGen().Draw(t, "secret")
			if i > 0 && rapid.Bool().Draw(t, "longer") {
				s = list[0] + s // one is the beginning of another
			}
			secrets[fmt.Sprint(i)] = s
			list = append(list, s)
		}
		f, text := filterOf(secrets), textGen(list).Draw(t, "text")
		want := anonymous(newOracle(secrets).replace(text))
		var tally Tally
		got := inPieces(f, text, func(left int) int { return rapid.IntRange(1, left).Draw(t, "piece") }, Options{}, &tally)
		if anonymous(got) != want {
			t.Fatalf("%q\n got %q\nwant %q", text, got, want)
		}
		if whole := string(f.Clean([]byte(text), Options{}, &tally)); whole != got {
			t.Fatalf("whole %q, in pieces %q", whole, got)
		}
		if f.Has([]byte(text)) != (want != text) {
			t.Fatalf("Has(%q) is wrong", text)
		}
	})
}

// anonymous forgets whose secret it was: two may be written alike.
func anonymous(s string) string {
	return strings.NewReplacer("[redacted:0]", "[r]", "[redacted:1]", "[r]", "[redacted:2]", "[r]").Replace(s)
}

// TestPause: wherever the text rests, everything in front of the pause goes on, and
// of a secret that it falls into the rest is taken out. Fit keeps every length.
func TestPause(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for name, encode := range encodings {
		text := "before " + encode(canary) + " after"
		for at := range len(text) + 1 {
			for _, o := range []Options{{}, {Fit: true}, {Keep: true}} {
				var tally Tally
				s := f.Stream(o, &tally)
				got := string(s.Next([]byte(text[:at])))
				got += string(s.Pause())
				if s.Held() != 0 {
					t.Fatalf("%s at %d: %d held behind a pause", name, at, s.Held())
				}
				if !o.Keep && len(tally) == 0 && got != text[:at] {
					t.Fatalf("%s at %d: %q has gone, want %q", name, at, got, text[:at])
				}
				got += string(s.Next([]byte(text[at:])))
				got += string(s.End(nil))
				if o.Keep && got != text {
					t.Fatalf("%s at %d: %q has changed", name, at, got)
				}
				if o.Fit && len(got) != len(text) {
					t.Fatalf("%s at %d: %q is not as long as %q", name, at, got, text)
				}
				if len(tally) != 1 || !o.Keep && strings.Contains(got, encode(canary)) {
					t.Fatalf("%s at %d: %q, tally %v", name, at, got, tally)
				}
			}
		}
	}
}

// TestHoldsOnlyPrefixes: what is kept back is the beginning of a secret's form.
func TestHoldsOnlyPrefixes(t *testing.T) {
	f := filterOf(map[string]string{"token": "abcdefgh"})
	for text, held := range map[string]int{
		"xyz": 0, "xa": 1, "xab": 2, "abcdefg": 7, "abcdefgh": 0, "abx": 0, "x%6": 2, "x%61b": 4, `x\u00`: 4, "x&#9": 3, "x\n": 0, "x%7": 0,
		"data: {}\n\n": 0, "6162": 4, "YWJj": 4, "abcdefg%68": 0,
	} {
		var tally Tally
		s := f.Stream(Options{}, &tally)
		s.Next([]byte(text))
		if s.Held() != held {
			t.Errorf("%q: %d held, want %d", text, s.Held(), held)
		}
	}
}

// TestEveryPlaceInALongText: where long stretches are passed over at once, a secret is
// still found wherever it stands in them, and beside what looks like a part of it.
func TestEveryPlaceInALongText(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, length := range []int{MinLength, 12, 17, 23, len(canary), 40, 100} {
		value := strings.Repeat(canary, 4)[:length]
		f := filterOf(map[string]string{"token": value})
		for _, name := range slices.Sorted(maps.Keys(encodings)) {
			coded := encodings[name](value)
			for at := 0; at <= 2*block; at += step {
				before, after := strings.Repeat("~", at), strings.Repeat("~", 2*block-at)
				part := coded[:len(coded)/2]
				for _, text := range []string{before + coded + after, before + part + "~" + coded + after, part + before + coded + after} {
					if !f.Has([]byte(text)) {
						t.Fatalf("%s of %q at %d is not found", name, value, at)
					}
					var tally Tally
					got := f.Clean([]byte(text), Options{}, &tally)
					if len(tally) != 1 || tally[0] != (Found{"token", 1}) || !bytes.HasSuffix(got, []byte(after)) {
						t.Fatalf("%s of %q at %d: %q, tally %v", name, value, at, got, tally)
					}
				}
			}
			if text := strings.Repeat("~", 3*block) + coded[:len(coded)/2]; f.Has([]byte(text)) {
				t.Fatalf("%s of %q is found in %q", name, value, text)
			}
		}
	}
}

func TestOtherAlphabets(t *testing.T) {
	f := filterOf(map[string]string{"token": "pass£wörd😀!"})
	for _, text := range []string{
		"pass£wörd😀!", "pass%C2%A3w%c3%b6rd%F0%9F%98%80!", `pass\u00a3w\u00F6rd\ud83d\uDE00!`, "pass&#163;w&#xF6;rd&#128512;!",
		`pass\u00c2\u00a3w\u00c3\u00b6rd\u00f0\u009f\u0098\u0080!`, "passÂ£wÃ¶rdð\u009f\u0098\u0080!",
	} {
		var tally Tally
		if got := string(f.Clean([]byte(text), Options{}, &tally)); got != "[redacted:token]" {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestNamesMarksAndShortOnes(t *testing.T) {
	f, short := New([]Secret{
		{Name: "key", Value: secret.New([]byte("0123456789"))},
		{Name: "pair", Mark: "placeholder", Value: secret.New([]byte("billing:hunter2"))},
		{Name: "key", Value: secret.New([]byte("abcdefghij"))},
		{Name: "pin", Value: secret.New([]byte("1234567"))},
	})
	if fmt.Sprint(short) != "[pin]" {
		t.Errorf("short: %v", short)
	}
	var tally Tally
	got := string(f.Clean([]byte("0123456789 billing:hunter2 abcdefghij 1234567"), Options{}, &tally))
	if got != "[redacted:key] placeholder [redacted:key] 1234567" || fmt.Sprint(tally) != "[{key 2} {pair 1}]" {
		t.Errorf("%s, %v", got, tally)
	}
	if got := string(f.Clean([]byte("x0123456789x billing:hunter2"), Options{Fit: true}, &tally)); got != "x**********x placeholder****" {
		t.Error(got)
	}
	if empty, _ := New(nil); !empty.Empty() || f.Empty() || !(*Filter)(nil).Empty() {
		t.Error("Empty")
	}
	if empty, _ := New(nil); string(empty.Clean([]byte("anything at all, longer than a window is"), Options{}, &tally)) != "anything at all, longer than a window is" {
		t.Error("an empty filter changes something")
	}
}

func TestNothingPrintsAFilter(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if out := fmt.Sprintf(verb, f) + fmt.Sprintf(verb, *f); strings.Contains(out, "sk_") || len(out) > 200 {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

// TestCleanTextIsNotCopied: the memory of a piece without a secret goes on as it
// is, and nothing is allocated for it.
func TestCleanTextIsNotCopied(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	var tally Tally
	s := f.Stream(Options{}, &tally)
	p := []byte(strings.Repeat("nothing to see here. ", 100))
	if got := s.Next(p); &got[0] != &p[0] || len(got) != len(p) {
		t.Error("it was copied")
	}
	if n := testing.AllocsPerRun(100, func() { s.Next(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(canary, canary, uint8(3))
	f.Add("aaaaaaaab", "aaaaaaaaaaaaaab", uint8(1))
	f.Add(`\\\\\\\\`, `x\\\\\\\\\\\\\\\\\\\\\\\\`, uint8(2))
	f.Add("%25%25%25", "%25%2525%25%25%25", uint8(2))
	f.Fuzz(func(t *testing.T, s, text string, size uint8) {
		const most = 200
		if len(s) > most || strings.Contains(s, "\x00") {
			return // the mark must not make a secret of what stands behind it
		}
		filter, _ := New([]Secret{{Name: "k", Mark: "\x00", Value: secret.New([]byte(s))}})
		var tally Tally
		cut := func(left int) int { return min(left, 1+int(size)) }
		got := inPieces(filter, text, cut, Options{}, &tally)
		if whole := string(filter.Clean([]byte(text), Options{}, &tally)); whole != got {
			t.Fatalf("%q in %q: whole %q, in pieces %q", s, text, whole, got)
		}
		if len(s) >= MinLength && strings.Contains(got, s) {
			t.Fatalf("%q is left in %q", s, got)
		}
		fitted := inPieces(filter, text, cut, Options{Fit: true}, &tally)
		if len(fitted) != len(text) {
			t.Fatalf("%q does not fit %q", fitted, text)
		}
	})
}

// TestLinesInASecret: a shared key may have any bytes, and JSON has short escapes for
// line breaks too.
func TestLinesInASecret(t *testing.T) {
	const key = "key\r\n\b\f\tof several lines\n"
	f := filterOf(map[string]string{"token": key})
	for _, value := range []any{key, map[string]string{"k": key}} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var tally Tally
		if got := f.Clean(text, Options{}, &tally); bytes.Contains(got, []byte("several")) {
			t.Errorf("%s", got)
		}
	}
}

// TestWideCharacters: the workload may ask for a charset, and get an error page in
// UTF-16.
func TestWideCharacters(t *testing.T) {
	for _, s := range []string{canary, "pass£wörd😀!"} {
		f := filterOf(map[string]string{"token": s})
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			var text []byte
			for _, unit := range utf16.Encode([]rune("Unauthorized: " + s + " is no token")) {
				text = order.AppendUint16(text, unit)
			}
			for split := range len(text) {
				var tally Tally
				stream := f.Stream(Options{Fit: true}, &tally)
				got := bytes.Clone(stream.Next(text[:split]))
				got = append(got, stream.End(text[split:])...)
				if len(tally) != 1 || tally[0].Count != 1 || len(got) != len(text) {
					t.Fatalf("%s, %v, in two at %d: %v %q", s, order, split, tally, got)
				}
			}
		}
	}
}
