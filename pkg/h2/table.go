package h2

import "golang.org/x/net/http2/hpack"

// table is the dynamic table of one direction (RFC 7541 section 2.3.2): a ring, so
// that an entry leaves it without moving the others. Entries are numbered as they
// come.
type table struct {
	ring []hpack.HeaderField // its length is a power of two
	next uint                // the number of the next entry
	n    uint
	size int
	max  int
}

// entry is the one with a number, which must be in the table.
func (t *table) entry(number uint) *hpack.HeaderField { return &t.ring[number&uint(len(t.ring)-1)] }

// at returns the entry of an index (section 2.3.3).
func (t *table) at(i int) (hpack.HeaderField, bool) {
	switch {
	case i <= 0:
		return hpack.HeaderField{}, false
	case i <= len(staticTable):
		return staticTable[i-1], true
	case uint(i-len(staticTable)) > t.n:
		return hpack.HeaderField{}, false
	}
	return *t.entry(t.next - uint(i-len(staticTable))), true
}

// add enters f, and what is oldest leaves until there is room (section 4.4).
func (t *table) add(f hpack.HeaderField) {
	size := int(f.Size())
	t.evict(t.max - size)
	if size > t.max {
		return
	}
	if t.n == uint(len(t.ring)) {
		t.grow()
	}
	*t.entry(t.next) = f
	t.next++
	t.n++
	t.size += size
}

// limit changes the size of the table (section 4.3).
func (t *table) limit(size int) {
	t.max = size
	t.evict(size)
}

func (t *table) evict(room int) {
	for t.n > 0 && t.size > room {
		oldest := t.entry(t.next - t.n)
		t.size -= int(oldest.Size())
		*oldest = hpack.HeaderField{}
		t.n--
	}
}

func (t *table) grow() {
	old := *t
	t.ring = make([]hpack.HeaderField, max(8, 2*len(t.ring)))
	for number := t.next - t.n; number != t.next; number++ {
		*t.entry(number) = *old.entry(number)
	}
}

// staticTable is RFC 7541 appendix A, as the library knows it. It is never
// written after it was made.
var staticTable = func() (t []hpack.HeaderField) {
	d := hpack.NewDecoder(0, func(f hpack.HeaderField) { t = append(t, f) })
	for i := byte(1); i <= 61; i++ {
		_, _ = d.Write([]byte{0x80 | i})
	}
	return t
}()

// staticNames are the names of the static table with their first index
// (RFC 7541 appendix A). It is never written after it was made.
var staticNames = map[string]uint64{
	":authority": 1, ":method": 2, ":path": 4, ":scheme": 6, ":status": 8, "accept-charset": 15,
	"accept-encoding": 16, "accept-language": 17, "accept-ranges": 18, "accept": 19,
	"access-control-allow-origin": 20, "age": 21, "allow": 22, "authorization": 23, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "cookie": 32, "date": 33, "etag": 34,
	"expect": 35, "expires": 36, "from": 37, "host": 38, "if-match": 39, "if-modified-since": 40,
	"if-none-match": 41, "if-range": 42, "if-unmodified-since": 43, "last-modified": 44, "link": 45,
	"location": 46, "max-forwards": 47, "proxy-authenticate": 48, "proxy-authorization": 49, "range": 50,
	"referer": 51, "refresh": 52, "retry-after": 53, "server": 54, "set-cookie": 55,
	"strict-transport-security": 56, "transfer-encoding": 57, "user-agent": 58, "vary": 59, "via": 60,
	"www-authenticate": 61,
}
