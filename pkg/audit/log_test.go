package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func appendN(t testing.TB, l *Log, n int) {
	t.Helper()
	p := sampleProcess(4711, "/opt/billing/bin/transfer")
	for range n {
		r := sampleRecord(p)
		if err := l.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func verified(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Errorf("finding: %v", f)
	}
	return r
}

func all(t testing.TB, dir string, q Query) []Record {
	t.Helper()
	var out []Record
	for r, err := range Read(dir, q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestAppendSetsTheChain(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	var prev Digest
	for i := range uint64(3) {
		r := Record{Kind: KindConnection}
		if err := l.Append(&r); err != nil {
			t.Fatal(err)
		}
		if r.Seq != i+1 || r.Prev != prev || r.Hash.IsZero() || r.Time.IsZero() {
			t.Errorf("record %d: seq %d, prev %v, hash %v, time %v", i+1, r.Seq, r.Prev, r.Hash, r.Time)
		}
		prev = r.Hash
	}
}

func TestReopenContinues(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		l := open(t, dir, Options{})
		appendN(t, l, 10)
		closeLog(t, l)
		if r := verified(t, dir); r.Last != uint64(10*(i+1)) || r.Segments != 1 || len(r.Losses)+len(r.Notes) != 0 {
			t.Fatalf("after start %d: %+v", i+1, r)
		}
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: minSegmentSize})
	appendN(t, l, 1000)
	verified(t, dir) // while it is written
	closeLog(t, l)
	r := verified(t, dir)
	if r.Records != 1000 || r.Segments < 8 {
		t.Fatalf("%d records in %d segments", r.Records, r.Segments)
	}
	files, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[:len(files)-1] {
		info, err := os.Stat(f.path())
		if err != nil {
			t.Fatal(err)
		}
		if !f.packed || info.Mode().Perm() != sealedMode {
			t.Errorf("%s: packed %v, mode %v", f.name(), f.packed, info.Mode())
		}
	}
	for i, r := range all(t, dir, Query{}) {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d is read in place %d", r.Seq, i+1)
		}
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, dir, Options{})
	appendN(t, l, 1)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != dirMode {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Fatalf("%d files, want 4: %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != fileMode {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("second writer: %v", err)
	}
	closeLog(t, l)
	closeLog(t, open(t, dir, Options{}))
	if err := l.Append(&Record{}); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestConcurrentAppenders(t *testing.T) {
	const workers, each = 20, 200
	for _, synced := range []bool{false, true} {
		dir := t.TempDir()
		l := open(t, dir, Options{SegmentSize: 1 << 20, Synced: synced})
		var wg sync.WaitGroup
		n := each
		if synced {
			n = 10
		}
		seen := make([][]uint64, workers)
		for w := range workers {
			wg.Go(func() {
				p := sampleProcess(uint32(w+1), "/bin/worker")
				for range n {
					r := sampleRecord(p)
					if err := l.Append(&r); err != nil {
						t.Error(err)
						return
					}
					seen[w] = append(seen[w], r.Seq)
				}
			})
		}
		wg.Wait()
		if s := l.Stats(); s.Appended != uint64(workers*n) || synced && s.Synced != s.Seq {
			t.Errorf("stats %+v", s)
		}
		closeLog(t, l)
		verified(t, dir)
		owner := map[uint64]uint32{}
		for _, r := range all(t, dir, Query{}) {
			owner[r.Seq] = r.Process.PID
		}
		for w := range seen {
			for _, seq := range seen[w] {
				if owner[seq] != uint32(w+1) {
					t.Fatalf("record %d belongs to %d, read as %d's", seq, w+1, owner[seq])
				}
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: minSegmentSize})
	big := Record{Kind: KindAlert, Anomaly: &Anomaly{Reasons: make([]string, 20)}}
	for i := range big.Anomaly.Reasons {
		big.Anomaly.Reasons[i] = strings.Repeat("x", maxText)
	}
	if err := l.Append(&big); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("append: %v", err)
	}
	appendN(t, l, 1)
	got := all(t, dir, Query{Kinds: []string{KindLoss}})
	if len(got) != 1 || got[0].Lost != 1 || got[0].Reason != ReasonWriteFailed || l.Stats().Failed != 1 {
		t.Errorf("losses told: %+v", got)
	}
}

// A full disk refuses records, counts them, and recovers: scorecard row E3.
func TestFullDisk(t *testing.T) {
	netnstest.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	trail := filepath.Join(dir, "audit")
	ballast := filepath.Join(dir, "ballast")
	l := open(t, trail, Options{SegmentSize: 128 << 10})
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	p := sampleProcess(1, "/bin/x")
	refused := uint64(0)
	for range 1000 {
		r := sampleRecord(p)
		if err := l.Append(&r); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			refused++
		}
	}
	if refused == 0 || l.Stats().Failed != refused {
		t.Fatalf("%d refused, stats %+v", refused, l.Stats())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 1)
	closeLog(t, l)
	r := verified(t, trail)
	if r.Lost() != refused {
		t.Errorf("the trail tells of %d lost, %d were refused", r.Lost(), refused)
	}
}

// A segment that is truncated under the writer is an error, not a crash.
func TestTruncatedUnderWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	appendN(t, l, 10)
	files, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0].path(), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Append(&Record{Kind: KindAlert}); err == nil {
			t.Fatal("appended to a segment that is gone")
		}
	}
	if err := l.Close(); err == nil {
		t.Error("closed as if nothing had been")
	}
	if r, err := Verify(dir); err != nil || r.OK() {
		t.Errorf("Verify: %v, %+v", err, r)
	}
}

func TestCheckpoints(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	appendN(t, l, checkpointEveryN+5)
	closeLog(t, l)
	if r := verified(t, dir); r.Checkpoints != 1 {
		t.Errorf("%d checkpoints", r.Checkpoints)
	}
}

func TestCheckpointOfQuietTrail(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{CheckpointEvery: time.Millisecond, SyncEvery: time.Millisecond})
	appendN(t, l, 1)
	waitFor(t, func() bool { s := l.Stats(); return s.Seq == 2 && s.Synced == 2 })
	closeLog(t, l)
	if r := verified(t, dir); r.Checkpoints != 1 || r.Records != 2 {
		t.Errorf("%+v", r)
	}
}

// waitFor waits for something that another goroutine will do.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A trail that is left keeps its room on the disk for the next writer, who need not
// find any, and is whole.
func TestLeave(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	appendN(t, l, 3)
	if err := l.Leave(); err != nil {
		t.Fatal(err)
	}
	room := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(activePath(t, dir), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	if room() < DefaultSegmentSize {
		t.Errorf("%d bytes are kept", room())
	}
	if r := verified(t, dir); r.Last != 3 || len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
	l = open(t, dir, Options{})
	appendN(t, l, 1)
	closeLog(t, l)
	if r := verified(t, dir); r.Last != 4 || len(r.Losses) > 0 {
		t.Errorf("%+v", r)
	}
	if room() >= DefaultSegmentSize {
		t.Errorf("%d bytes are kept for nobody", room())
	}
}

// What is written to files that lie nowhere any more is not in the trail, so it is
// refused, soon after they were taken away.
func TestTaken(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
		"changed": func(dir string) error {
			file := activePath(t, dir)
			return errors.Join(os.Rename(file, file+".old"), os.WriteFile(file, nil, 0o600))
		},
		"headless": func(dir string) error { return os.Remove(filepath.Join(dir, headName)) },
	} {
		for _, synced := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "audit")
			l := open(t, dir, Options{Synced: synced, SyncEvery: 10 * time.Millisecond})
			appendN(t, l, 1)
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			var err error
			for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				if synced || l.Stats().SyncFails > 0 {
					r := sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
					err = l.Append(&r)
				}
			}
			if !errors.Is(err, ErrTaken) {
				t.Errorf("%s, synced %v: %v", name, synced, err)
			}
			if s := l.Stats(); s.SyncFails == 0 || s.Failed == 0 && !synced {
				t.Errorf("%s, synced %v: %+v", name, synced, s)
			}
		}
	}
}
