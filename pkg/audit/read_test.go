package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// mixedTrail holds 400 records, a second apart, of four programs.
func mixedTrail(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: minSegmentSize})
	exes := []string{"/opt/billing/bin/transfer", "/usr/bin/curl", "/usr/bin/python3.11", "/opt/other/bin/curl"}
	for i := range 400 {
		p := sampleProcess(uint32(100+i%4), exes[i%4])
		p.UID, p.Unit = uint32(1000+i%2), fmt.Sprintf("job%d.service", i%4)
		r := sampleRecord(p)
		r.Time, r.Flow = epoch.Add(time.Duration(i)*time.Second), fmt.Sprintf("flow%03d", i)
		r.Host, r.SNI = fmt.Sprintf("h%d.example", i%5), ""
		r.Status = []int{200, 204, 404, 503}[i%4]
		r.Method = []string{"GET", "POST"}[i%2]
		if i%10 == 9 {
			r.Decision, r.Reason, r.Status = "deny", "identity_mismatch", 0
		}
		if i%20 == 0 {
			r.Kind = KindCredential
		}
		if err := l.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	return dir
}

func TestQuery(t *testing.T) {
	dir := mixedTrail(t)
	for _, c := range []struct {
		name string
		q    Query
		want func(i int) bool // i counts from 0
	}{
		{"all", Query{}, func(int) bool { return true }},
		{"host", Query{Hosts: []string{"h3.example"}}, func(i int) bool { return i%5 == 3 }},
		{"hosts", Query{Hosts: []string{"*.example"}}, func(int) bool { return true }},
		{"host by original address", Query{Hosts: []string{"203.0.113.0/24"}}, func(int) bool { return true }},
		{"exe", Query{Exes: []string{"/usr/bin/*"}}, func(i int) bool { return i%4 == 1 || i%4 == 2 }},
		{"exe by name", Query{Exes: []string{"curl"}}, func(i int) bool { return i%4 == 1 || i%4 == 3 }},
		{"exe by name glob", Query{Exes: []string{"python*"}}, func(i int) bool { return i%4 == 2 }},
		{"pid", Query{PIDs: []uint32{100, 103}}, func(i int) bool { return i%4 == 0 || i%4 == 3 }},
		{"uid", Query{UIDs: []uint32{1001}}, func(i int) bool { return i%2 == 1 }},
		{"unit", Query{Units: []string{"job2"}}, func(i int) bool { return i%4 == 2 }},
		{"route", Query{Routes: []string{"partner-*"}}, func(int) bool { return true }},
		{"no such route", Query{Routes: []string{"partner"}}, func(int) bool { return false }},
		{"decision", Query{Decisions: []string{"deny"}}, func(i int) bool { return i%10 == 9 }},
		{"reason", Query{Reasons: []string{"identity_*"}}, func(i int) bool { return i%10 == 9 }},
		{"status class", Query{Statuses: statuses(t, "2xx")}, func(i int) bool { return i%4 < 2 && i%10 != 9 }},
		{"status and more", Query{Statuses: statuses(t, "4+")}, func(i int) bool { return i%4 >= 2 && i%10 != 9 }},
		{"method", Query{Methods: []string{"post"}}, func(i int) bool { return i%2 == 1 }},
		{"path", Query{Paths: []string{"/api/**"}}, func(int) bool { return true }},
		{"kind", Query{Kinds: []string{KindCredential}}, func(i int) bool { return i%20 == 0 }},
		{"flow", Query{Flows: []string{"flow007", "flow399"}}, func(i int) bool { return i == 7 || i == 399 }},
		{"seq", Query{Seqs: []uint64{1, 400}}, func(i int) bool { return i == 0 || i == 399 }},
		{"since", Query{Since: epoch.Add(300 * time.Second)}, func(i int) bool { return i >= 300 }},
		{"until", Query{Until: epoch.Add(20 * time.Second)}, func(i int) bool { return i < 20 }},
		{"both of two", Query{Decisions: []string{"deny"}, Hosts: []string{"h4.example"}}, func(i int) bool { return i%10 == 9 && i%5 == 4 }},
		{"not", Query{Hosts: []string{"h3.example", "h4.example"}, Not: true}, func(i int) bool { return i%5 < 3 }},
		{"not, but since", Query{Decisions: []string{"deny"}, Not: true, Since: epoch.Add(390 * time.Second)}, func(i int) bool { return i >= 390 && i%10 != 9 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []uint64
			for i := range 400 {
				if c.want(i) {
					want = append(want, uint64(i+1))
				}
			}
			if got := seqs(all(t, dir, c.q)); !slices.Equal(got, want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
			for _, last := range []int{1, 7, 399, 1000} {
				c.q.Last = last
				if got := seqs(all(t, dir, c.q)); !slices.Equal(got, want[max(0, len(want)-last):]) {
					t.Errorf("last %d: %v", last, got)
				}
			}
		})
	}
}

func seqs(records []Record) (out []uint64) {
	for _, r := range records {
		out = append(out, r.Seq)
	}
	return out
}

func statuses(t testing.TB, s string) []Statuses {
	t.Helper()
	r, err := ParseStatuses(s)
	if err != nil {
		t.Fatal(err)
	}
	return []Statuses{r}
}

func TestParseStatuses(t *testing.T) {
	for s, want := range map[string]Statuses{
		"200": {200, 200}, "4xx": {400, 499}, "5XX": {500, 599}, "5+": {500, 999}, "429+": {429, 999}, "400-403": {400, 403},
	} {
		if got, err := ParseStatuses(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "20", "0xx", "2000", "403-400", "-", "+", "4x", "-200", "99+", "1-2-3"} {
		if got, err := ParseStatuses(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestBadPatterns(t *testing.T) {
	dir := mixedTrail(t)
	for _, q := range []Query{{Hosts: []string{"http://x"}}, {Exes: []string{"[a"}}, {Paths: []string{"no-slash"}}, {Units: []string{"{a,b}"}}} {
		var got error
		for _, err := range Read(dir, q) {
			got = err
		}
		if got == nil {
			t.Errorf("%+v is taken", q)
		}
	}
}

// A sealed segment whose records are all too old is not read: it would not even
// have to be readable.
func TestOldSegmentsAreNotRead(t *testing.T) {
	dir := mixedTrail(t)
	files, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(files[0].path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(files[0].path(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0].path(), []byte("no segment"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(files[0].path(), sealedMode), os.Chtimes(files[0].path(), time.Time{}, info.ModTime())); err != nil {
		t.Fatal(err)
	}
	since := epoch.Add(time.Duration(files[1].first-1) * time.Second)
	if got := all(t, dir, Query{Since: since}); len(got) != 401-int(files[1].first) {
		t.Errorf("%d records", len(got))
	}
}

func TestReadReportsBrokenLines(t *testing.T) {
	dir := closedTrail(t, 5, DefaultSegmentSize)
	editLines(t, activePath(t, dir), func(l [][]byte) [][]byte { l[2] = []byte("not json\n"); return l })
	for _, q := range []Query{{}, {Last: 10}} {
		var good int
		var bad *LineError
		for _, err := range Read(dir, q) {
			if err == nil {
				good++
			} else if !errors.As(err, &bad) {
				t.Fatal(err)
			}
		}
		if good != 4 || bad == nil || bad.Line != 5 {
			t.Errorf("%d records, error %v", good, bad)
		}
	}
}

func TestReadOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		for _, err := range Read(dir, Query{Last: 3}) {
			if !errors.Is(err, ErrNoTrail) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}

// Who may not read a trail is told so: to wait for it would be to wait for ever.
func TestFollowWhatCannotBeRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // fails for root too
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var failed error
	for _, err := range Follow(ctx, dir, Query{}) {
		failed = err
	}
	if !errors.Is(failed, syscall.ENOTDIR) || ctx.Err() != nil {
		t.Errorf("%v; context: %v", failed, ctx.Err())
	}
}

// A follower sees each record once, over rotations and a restart of the writer.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: minSegmentSize})
	appendN(t, l, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan uint64, 10_000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r, err := range Follow(ctx, dir, Query{Last: 5, Kinds: []string{KindRequest}}) {
			if err != nil {
				t.Error(err)
				return
			}
			got <- r.Seq
		}
	}()
	want := uint64(96)
	expect := func(until uint64) {
		for ; want <= until; want++ {
			if seq := <-got; seq != want {
				t.Fatalf("record %d follows, want %d", seq, want)
			}
		}
	}
	expect(100)
	appendN(t, l, 300)
	expect(400)
	closeLog(t, l)
	l = open(t, dir, Options{SegmentSize: minSegmentSize})
	appendN(t, l, 50)
	expect(450)
	cancel()
	<-ended
}

func TestFollowWaitsForATrail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan Record)
	go func() {
		for r, err := range Follow(ctx, dir, Query{}) {
			if err == nil {
				got <- r
			}
		}
		close(got)
	}()
	l := open(t, dir, Options{})
	appendN(t, l, 1)
	if r := <-got; r.Seq != 1 {
		t.Errorf("record %d", r.Seq)
	}
	cancel()
	for range got {
	}
}

// A trail that somebody removed, and that the next daemon begins anew, is followed too.
func TestFollowATrailThatBeginsAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan uint64)
	go func() {
		for r, err := range Follow(ctx, dir, Query{}) {
			if err == nil {
				got <- r.Seq
			}
		}
		close(got)
	}()
	for _, n := range []int{400, 20, 5, 300, 7} { // of one segment and of several, longer and shorter than before
		l := open(t, dir, Options{SegmentSize: minSegmentSize})
		appendN(t, l, 3) // what is written before the next look is of the first segment, as segments are large
		for want := range uint64(n) {
			if want == 3 {
				appendN(t, l, n-3)
			}
			if seq := <-got; seq != want+1 {
				t.Fatalf("of %d: record %d follows, want %d (0 is none)", n, seq, want+1)
			}
		}
		closeLog(t, l)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	for range got {
	}
}

func BenchmarkLast20(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, Options{})
	appendN(b, l, 100_000)
	closeLog(b, l)
	b.ResetTimer()
	for b.Loop() {
		if n := len(all(b, dir, Query{Last: 20})); n != 20 {
			b.Fatal(n)
		}
	}
}
