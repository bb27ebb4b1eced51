package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/process"
)

// fullRecord has every field set.
func fullRecord() Record {
	r := sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
	r.Seq, r.Time = 7, time.Date(2026, 3, 1, 12, 4, 31, 221e6, time.UTC)
	r.Reason, r.Lost = "upstream_closed", 3
	r.Anomaly = &Anomaly{0.5, []string{"new host", "burst"}}
	r.Scrubbed = []Scrubbed{{"partner-token", 2}, {"hmac", 1}}
	r.Guest = "10.0.0.7" // beside a process it stands here alone
	r.MAC, r.Prev, r.Hash = Digest{7}, Digest{8}, Digest{9}
	return r
}

func TestLineOrder(t *testing.T) {
	r := fullRecord()
	line := r.Line()
	var names []string
	dec := json.NewDecoder(bytes.NewReader(line))
	depth := 0
	for key := false; ; {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
			key = depth == 1 && v != '['
		case string:
			if key && depth == 1 {
				names = append(names, v)
			}
			key = depth == 1 && !key
		default:
			key = depth == 1
		}
	}
	var want []string
	for f := range reflect.TypeFor[Record]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			want = append(want, name)
		}
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("fields of a line (-want +got):\n%s", diff)
	}
}

func TestLineIsWhatEncodingJSONReads(t *testing.T) {
	r := fullRecord()
	var got Record
	if err := json.Unmarshal(r.Line(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got, recordCmp...); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	empty := Record{Time: r.Time, Kind: KindConnection}
	want := `{"seq":0,"time":"2026-03-01T12:04:31.221Z","kind":"connection","prev":"` + Digest{}.String() + `","hash":"` + Digest{}.String() + `"}`
	if string(empty.Line()) != want {
		t.Errorf("a record of which nothing is known:\n got %s\nwant %s", empty.Line(), want)
	}
}

var recordCmp = []cmp.Option{
	cmpopts.IgnoreUnexported(Record{}, process.Identity{}), cmpopts.EquateEmpty(),
}

// hostile holds what logs have been forged with: scorecard row G4.
var hostile = []string{
	"a\r\n{\"seq\":1}", "\x1b[2J\x1b[31mred", "\x9b31m", "\u009b31m", "a\x00b", "\xff\xfe", "\xed\xa0\x80",
	"\u202egnp.exe", "\u2028line\u2029", "zero\u200bwidth", "\ufeff", `quote"back\slash`, "\x7f\x08\x07", "\U000e0041tag", "ünïcödé 日本 🎉",
	"\xc2", "\xe2\x80", strings.Repeat("ä", maxText), "\u0085",
}

// safe reports whether b may be sent to a terminal as one line.
func safe(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 || r < ' ' || r == 0x7f || r > 0x7f && !printable(r) {
			return false
		}
		b = b[size:]
	}
	return true
}

func TestHostileText(t *testing.T) {
	for _, s := range hostile {
		p := sampleProcess(1, s)
		p.Argv, p.Unit, p.Cgroup = []string{s, "x", s}, s, s
		r := Record{
			Time: time.Now(), Kind: s, Flow: s, Process: p, Original: &Endpoint{IP: s}, SNI: s, Host: s, Method: s, Path: s,
			Route: s, Decision: s, Reason: s, Credentials: []Credential{{s, s, s}}, Signature: &Signature{s, s, s, 1},
			Upstream: &Upstream{IP: s, TLS: s, ALPN: s}, EgressIP: s, Anomaly: &Anomaly{1, []string{s, s}},
			Scrubbed: []Scrubbed{{s, 1}},
		}
		line := r.Line()
		if !safe(line) {
			t.Errorf("%q: the line can act on a terminal or is several: %q", s, line)
		}
		got, err := decode(line, new(objects))
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if len(s) < maxText && got.Path != strings.ToValidUTF8(s, "�") && !strings.ContainsRune(s, utf8.RuneError) && utf8.ValidString(s) {
			t.Errorf("%q: read as %q", s, got.Path)
		}
		if !safe([]byte(Printable(s))) {
			t.Errorf("Printable(%q) = %q is not", s, Printable(s))
		}
	}
}

func TestLongTextIsCut(t *testing.T) {
	got, err := decode((&Record{Time: time.Now(), Path: strings.Repeat("ä", maxText)}).Line(), new(objects))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("ä", maxText/2) + "…[+8192 bytes]"; got.Path != want {
		t.Errorf("path of %d bytes, ends in %q", len(got.Path), got.Path[len(got.Path)-20:])
	}
}

func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 40, 200)
		r := Record{
			Seq: rapid.Uint64().Draw(t, "seq"), Time: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
			Kind: text.Draw(t, "kind"), Host: text.Draw(t, "host"), Path: text.Draw(t, "path"), Reason: text.Draw(t, "reason"),
			Status: rapid.Int().Draw(t, "status"), BytesIn: rapid.Int64().Draw(t, "in"), DurationMS: rapid.Float64().Draw(t, "ms"),
			Credentials: []Credential{{Name: text.Draw(t, "name")}},
		}
		line := r.Line()
		if !safe(line) {
			t.Fatalf("unsafe line %q", line)
		}
		got, err := decode(line, new(objects))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, recordCmp...); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	r := fullRecord()
	r.Process.JSON()
	var e encoder
	if n := testing.AllocsPerRun(100, func() { e.encode(&r) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		if !safe(b) || !json.Valid(b) {
			t.Fatalf("appendString(%q) = %q", s, b)
		}
		std, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var ours, theirs string
		if err := json.Unmarshal(b, &ours); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(std, &theirs)
		if len(s) <= maxText && ours != theirs {
			t.Fatalf("%q reads back as %q, want %q", s, ours, theirs)
		}
		again := appendJSON(nil, std)
		var third string
		if err := json.Unmarshal(again, &third); err != nil || third != theirs || !safe(again) {
			t.Fatalf("appendJSON(%q) = %q (%v)", std, again, err)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	r := fullRecord()
	f.Add(r.Line())
	f.Add([]byte(`{"seq":1,"prev":"","hash":""}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := parseLink(line)
		if err != nil {
			return
		}
		hash := l.hash.hex()
		again := appendHash(bytes.Clone(line[:len(line)-hashLen]), &hash)
		if !bytes.Equal(again, line) {
			t.Fatalf("a second spelling is accepted: %q", line)
		}
	})
}
