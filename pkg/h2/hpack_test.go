package h2

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"
)

func TestStaticTable(t *testing.T) {
	if len(staticTable) != 61 || staticTable[60].Name != "www-authenticate" || staticTable[1].Value != "GET" {
		t.Fatalf("%d entries: %v", len(staticTable), staticTable)
	}
	for name, i := range staticNames {
		if staticTable[i-1].Name != name || i > 1 && staticTable[i-2].Name == name {
			t.Errorf("%s is not first at %d", name, i)
		}
	}
}

// sections draws field sections of which many fields come again, as they do. None
// is empty: x/net takes only one change of the table before a field.
func sections(t *rapid.T) [][]hpack.HeaderField {
	field := rapid.Custom(func(t *rapid.T) hpack.HeaderField {
		return hpack.HeaderField{
			Name:      rapid.SampledFrom([]string{":path", "date", "x-a", "x-b", "authorization", "etag", "cookie", ":status", "server"}).Draw(t, "name"),
			Value:     rapid.SampledFrom([]string{"", "a", "abc", "200", strings.Repeat("long ", 100), strings.Repeat("q", 5000), "\x00\xff"}).Draw(t, "value") + rapid.StringMatching(`[a-c]{0,2}`).Draw(t, "tail"),
			Sensitive: rapid.IntRange(0, 9).Draw(t, "sensitive") == 0,
		}
	})
	return rapid.SliceOfN(rapid.SliceOfN(field, 1, 30), 1, 20).Draw(t, "sections")
}

// TestEncodeDecode: what we encode, x/net decodes to the same fields in the same
// order, and so do we what x/net encodes, also when the table's size changes.
func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got []hpack.HeaderField
		keep := func(f hpack.HeaderField) { got = append(got, f) }
		ours, theirs := newEncoder(), hpack.NewDecoder(maxTable, keep)
		var block bytes.Buffer
		theirEncoder, ourDecoder := hpack.NewEncoder(&block), newDecoder(keep)
		for _, fields := range sections(t) {
			if rapid.IntRange(0, 4).Draw(t, "resize") == 0 {
				size := rapid.Uint32Range(0, maxTable).Draw(t, "size")
				ours.resize(size)
				theirEncoder.SetMaxDynamicTableSize(size)
			}
			got = nil
			if _, err := theirs.Write(ours.encode(fields)); err != nil || theirs.Close() != nil {
				t.Fatal(err)
			}
			for i := range fields {
				if got[i].Sensitive != (representation(&fields[i]) == never) {
					t.Errorf("%v: never indexed %v", fields[i], got[i].Sensitive)
				}
				got[i].Sensitive = fields[i].Sensitive
			}
			if !slices.Equal(got, fields) {
				t.Fatalf("x/net read %v of %v", got, fields)
			}
			got = nil
			block.Reset()
			for _, f := range fields {
				_ = theirEncoder.WriteField(f)
			}
			if err := ourDecoder.decode(block.Bytes()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, fields) {
				t.Fatalf("read %v of %v", got, fields)
			}
		}
	})
}

// TestEncodeRepeats writes a section again: each field is one byte then, more fields
// than memos and those of the static table too. After the peer has emptied its table
// they are text again.
func TestEncodeRepeats(t *testing.T) {
	fields := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":status", Value: "404"}}
	for i := range 60 {
		fields = append(fields, hpack.HeaderField{Name: "x-" + string(rune('A'+i)), Value: "v"})
	}
	e := newEncoder()
	first := len(e.encode(fields))
	for range 2 {
		if n := len(e.encode(fields)); n != len(fields) {
			t.Errorf("%d bytes for %d fields that were sent before", n, len(fields))
		}
	}
	e.resize(0)
	e.resize(maxTable)
	again := e.encode(fields)
	if want := append([]byte{0x20}, appendInteger(nil, 0x20, 5, maxTable)...); !bytes.HasPrefix(again, want) || len(again) != first+len(want) {
		t.Errorf("%d bytes behind %x, at first %d", len(again), again[:4], first)
	}
}

// FuzzDecode compares with x/net's decoder: what it refuses we refuse, and
// otherwise both read the same fields, over several sections.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff}, uint8(17))
	f.Add([]byte{0x40, 1, 'a', 1, 'b', 0xbe, 0x3f, 0xe1, 0x1f, 0x20, 0xbe}, uint8(6))
	f.Add([]byte{0x10, 1, 'a', 1, 'b', 0x0f, 0x00, 0x81, 0xff}, uint8(5))
	f.Fuzz(func(t *testing.T, p []byte, cut uint8) {
		var got, want []hpack.HeaderField
		ours := newDecoder(func(f hpack.HeaderField) { got = append(got, f) })
		theirs := hpack.NewDecoder(maxTable, func(f hpack.HeaderField) { want = append(want, f) })
		first := p[:min(int(cut), len(p))]
		for _, block := range [][]byte{first, first, p[len(first):]} {
			_, wantErr := theirs.Write(block)
			if err := theirs.Close(); wantErr == nil {
				wantErr = err
			}
			err := ours.decode(block)
			if wantErr != nil && strings.Contains(wantErr.Error(), "size update") {
				return // it takes one, where RFC 7541 section 4.2 speaks of two
			}
			if err == nil && wantErr != nil {
				t.Fatalf("%x: x/net says %v", block, wantErr)
			}
			if err != nil {
				return // we may be stricter with huge integers and late changes of size
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%x: %v, x/net %v", block, got, want)
			}
		}
	})
}
