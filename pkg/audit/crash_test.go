package audit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

const childVariable = "OUTWARDEN_AUDIT_CHILD"

// TestMain lets the test binary be the writer that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		child(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child appends from several goroutines until it is killed, and tells on stdout
// each record that was acknowledged.
func child(dir string) {
	l, err := Open(dir, Options{SegmentSize: 256 << 10, SyncEvery: 20 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	out := bufio.NewWriterSize(os.Stdout, 8)
	for w := range 4 {
		wg.Go(func() {
			p := sampleProcess(uint32(w+1), "/bin/worker")
			for {
				r := sampleRecord(p)
				if err := l.Append(&r); err != nil {
					panic(err)
				}
				var ack [40]byte
				binary.LittleEndian.PutUint64(ack[:], r.Seq)
				copy(ack[8:], r.Hash[:])
				if r.Seq%50 == 0 {
					l.giveBack() // what the keeper does ten times a second
				}
				mu.Lock()
				_, _ = out.Write(ack[:])
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// runAndKill starts a writer, kills it after some records, and gives what it
// acknowledged.
func runAndKill(t *testing.T, dir string, after int) map[uint64]Digest {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[uint64]Digest{}
	for {
		var ack [40]byte
		if _, err := io.ReadFull(out, ack[:]); err != nil {
			break
		}
		acked[binary.LittleEndian.Uint64(ack[:])] = Digest(ack[8:])
		if len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the writer was not killed: %v", err)
	}
	return acked
}

// Every acknowledged record is there after kill -9, Verify raises no alarm before
// and after the next start, and the chain goes on: scorecard rows G1 and E1.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	acked := map[uint64]Digest{}
	deaths := 25
	if testing.Short() {
		deaths = 5
	}
	for range deaths {
		for seq, hash := range runAndKill(t, dir, 1+rand.IntN(3000)) {
			acked[seq] = hash
		}
		if r := verified(t, dir); r.Live {
			t.Fatal("a dead writer is taken for a living one")
		}
	}
	l := open(t, dir, Options{})
	appendN(t, l, 1)
	closeLog(t, l)
	r := verified(t, dir)
	hashes := map[uint64]Digest{}
	for _, rec := range all(t, dir, Query{}) {
		hashes[rec.Seq] = rec.Hash
	}
	for seq, hash := range acked {
		if hashes[seq] != hash {
			t.Fatalf("record %d was acknowledged with hash %v, and is there with %v", seq, hash, hashes[seq])
		}
	}
	t.Logf("%d records acknowledged, %d in the trail, %d cut", len(acked), r.Records, r.Lost())
}

// crashedTrail is a trail whose writer died: nothing was closed, and the head is
// as the last append left it.
func crashedTrail(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir, Options{})
	appendN(t, l, n)
	l.abandon()
	l.closed = true
	return dir
}

func activePath(t *testing.T, dir string) string {
	t.Helper()
	files, err := listSegments(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("no segment: %v", err)
	}
	return files[len(files)-1].path()
}

// edit changes a file's written part; what is behind it stays.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reopen opens the trail once more and gives the losses it then tells of.
func reopen(t *testing.T, dir string) []Record {
	t.Helper()
	l := open(t, dir, Options{})
	appendN(t, l, 1)
	closeLog(t, l)
	return all(t, dir, Query{Kinds: []string{KindLoss}})
}

func TestTornLineIsCutAndTold(t *testing.T) {
	unacknowledged := Record{Seq: 4, Time: time.Now(), Kind: KindRequest}
	torn := map[string]string{
		"half a line": `{"seq":4,"time":"2026-03-01T12`,
		"one byte":    `{`,
		"with a hole": "{\"seq\":4\x00\x00\x00time",
		"no line end": string(unacknowledged.Line()),
	}
	for name, residue := range torn {
		dir := crashedTrail(t, 3)
		edit(t, activePath(t, dir), func(b []byte) []byte {
			copy(b[len(trimZeros(b)):], residue)
			return b
		})
		if rep := verified(t, dir); len(rep.Notes) != 1 || rep.Last != 3 {
			t.Errorf("%s: before the next start: %+v", name, rep)
		}
		if losses := reopen(t, dir); len(losses) != 1 || losses[0].Reason != ReasonTornLine || losses[0].Lost != 1 || losses[0].Seq != 4 {
			t.Errorf("%s: told %+v", name, losses)
		}
		verified(t, dir)
	}
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// otherBoot rewrites the head as if it had been written in another boot of the
// machine, with only the first records known to be on disk.
func otherBoot(t *testing.T, dir string, change func(*tip)) {
	t.Helper()
	key, err := readKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeyed(key)
	h, ok, err := readHead(dir, k)
	if err != nil || !ok {
		t.Fatalf("head: %v, %v", ok, err)
	}
	h.boot = [16]byte{1}
	change(&h.tip)
	if err := createHead(dir, h.tip, k); err != nil {
		t.Fatal(err)
	}
}

// cutAfter keeps the first n lines of a segment, and fill behind them.
func cutAfter(t *testing.T, path string, n int, fill string) {
	t.Helper()
	edit(t, path, func(b []byte) []byte {
		end := len(bytes.Join(linesOf(b)[:n], nil))
		return append(append(b[:end:end], fill...), make([]byte, 4096)...)
	})
}

// When the machine goes down, what was not on disk yet may be gone, and pages
// arrive in any order. That is told and counted, and is no alarm.
func TestPowerLoss(t *testing.T) {
	for name, fill := range map[string]string{"clean cut": "", "garbage": "\x00\x00xyz\n{\"seq\":9", "half a line": `{"seq":8,"ti`} {
		dir := crashedTrail(t, 10)
		otherBoot(t, dir, func(h *tip) { h.synced = 5 })
		cutAfter(t, activePath(t, dir), 7, fill)
		if r := verified(t, dir); len(r.Notes) == 0 {
			t.Errorf("%s: no word of it before the next start", name)
		}
		losses := reopen(t, dir)
		if len(losses) != 1 || losses[0].Reason != ReasonPowerLoss || losses[0].Lost != 3 || losses[0].Seq != 11 {
			t.Fatalf("%s: told %+v", name, losses)
		}
		if r := verified(t, dir); r.Lost() != 3 || r.Last != 12 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A head that is older on disk than the segment loses nothing.
func TestPowerLossOfTheHead(t *testing.T) {
	dir := crashedTrail(t, 10)
	older := firstLink(t, dir, 4)
	otherBoot(t, dir, func(h *tip) { h.synced, h.seq, h.hash = 3, older.seq, older.hash })
	if losses := reopen(t, dir); len(losses) != 0 {
		t.Errorf("told %+v", losses)
	}
	if r := verified(t, dir); r.Last != 11 {
		t.Errorf("%+v", r)
	}
}

func firstLink(t *testing.T, dir string, seq uint64) link {
	t.Helper()
	for r := range Read(dir, Query{}) {
		if r.Seq == seq {
			return link{r.Seq, r.Prev, r.Hash}
		}
	}
	t.Fatalf("no record %d", seq)
	return link{}
}

// A cut below what was on disk is no power loss.
func TestCutIsNotPowerLoss(t *testing.T) {
	dir := crashedTrail(t, 10)
	otherBoot(t, dir, func(h *tip) { h.synced = 8 })
	cutAfter(t, activePath(t, dir), 7, "")
	if r, err := Verify(dir); err != nil || r.OK() {
		t.Errorf("before the next start: %v, %+v", err, r)
	}
	if losses := reopen(t, dir); len(losses) != 1 || losses[0].Reason != ReasonTailMissing || losses[0].Lost != 3 {
		t.Errorf("told %+v", losses)
	}
	if r, err := Verify(dir); err != nil || r.OK() {
		t.Errorf("after it: %v, %+v", err, r)
	}
}
