package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sharedRecord is like sampleRecord, with what it shares encoded before.
func sharedRecord(pid uint32) Record {
	r := sampleRecord(sampleProcess(pid, "/opt/billing/bin/transfer"))
	shared := Share(&r)
	r.Process, r.Original, r.SNI, r.Host, r.Route, r.Decision = nil, nil, "", "", "", ""
	r.Credentials, r.Upstream, r.EgressIP = nil, nil, ""
	r.Share(shared)
	return r
}

func TestSharedIsWhatTheFieldsSay(t *testing.T) {
	shared, own := sharedRecord(4711), sampleRecord(sampleProcess(4711, "/opt/billing/bin/transfer"))
	own.Time = shared.Time
	if got, want := shared.Line(), own.Line(); !bytes.Equal(got, want) {
		t.Errorf("line\n%s\nwant\n%s", got, want)
	}
}

// A segment holds an object once, over a restart too, and every record read from
// it has it.
func TestObjectsStandOnceInASegment(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		l := open(t, dir, Options{SegmentSize: minSegmentSize})
		for i := range 200 {
			r := sharedRecord(uint32(1 + i%3))
			if err := l.Append(&r); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
	}
	verified(t, dir)
	files, err := listSegments(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%d segments, %v", len(files), err)
	}
	for _, f := range files {
		data, err := readAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte(objectKey)); n != 6 {
			t.Errorf("%s: %d objects, want three processes and what is common to the records of each", f.name(), n)
		}
	}
	for i, r := range all(t, dir, Query{}) {
		if r.Process == nil || r.Process.PID != uint32(1+i%200%3) || r.Upstream == nil || r.Flow == "" {
			t.Fatalf("record %d: %s", r.Seq, r.Line())
		}
	}
}

// Whoever has a printed record can check it against its hash by itself, with
// nothing of ours.
func TestPrintedRecordVerifies(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	shared, full, bare := sharedRecord(4711), fullRecord(), Record{Kind: KindDecision, Host: "api.example"}
	for _, r := range []*Record{&shared, &full, &bare} {
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	for _, r := range all(t, dir, Query{}) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(r.Line(), &fields); err != nil {
			t.Fatal(err)
		}
		if process := fields["process"]; process != nil {
			fields["process"] = sumOf(process)
		}
		common := objectOf(fields, "process", "guest", "original", "sni", "host", "route", "decision", "credentials", "upstream", "egress_ip")
		if string(common) != "{}" {
			fields["common"] = sumOf(common)
		}
		line := objectOf(fields, "seq", "time", "kind", "flow", "common", "method", "path", "reason", "signature",
			"status", "bytes_in", "bytes_out", "duration_ms", "scrubbed", "anomaly", "lost", "mac", "prev")
		if sha256.Sum256(line[:len(line)-1]) != r.Hash {
			t.Errorf("record %d: %s\nmakes %s", r.Seq, r.Line(), line)
		}
	}
}

func sumOf(value []byte) []byte { return fmt.Appendf(nil, `"%x"`, sha256.Sum256(value)) }

// objectOf is an object of those of the names that there are.
func objectOf(fields map[string]json.RawMessage, names ...string) []byte {
	var members []string
	for _, name := range names {
		if value := fields[name]; value != nil {
			members = append(members, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// Objects are vouched for like records: none is changed, taken out, put in,
// doubled or moved without a finding.
func TestVerifyFindsObjects(t *testing.T) {
	base := closedTrail(t, 6, DefaultSegmentSize) // two objects, six records
	forged := []byte(`{"object":{"pid":1}}` + "\n")
	for name, spoil := range map[string]func(l [][]byte) [][]byte{
		"changed": func(l [][]byte) [][]byte {
			l[0] = bytes.Replace(l[0], []byte("billing"), []byte("willing"), 1)
			return l
		},
		"removed":             func(l [][]byte) [][]byte { return l[1:] },
		"put in front":        func(l [][]byte) [][]byte { return slices.Insert(l, 0, forged) },
		"put in between":      func(l [][]byte) [][]byte { return slices.Insert(l, 4, forged) },
		"put behind":          func(l [][]byte) [][]byte { return append(l, forged) },
		"doubled":             func(l [][]byte) [][]byte { return slices.Insert(l, 0, l[0]) },
		"doubled later":       func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[0]) },
		"in front of its own": func(l [][]byte) [][]byte { l[0], l[1] = l[1], l[0]; return l },
		"behind its record":   func(l [][]byte) [][]byte { l[1], l[2] = l[2], l[1]; return l },
		"exchanged":           func(l [][]byte) [][]byte { l[0] = forged; return l },
		"no object":           func(l [][]byte) [][]byte { l[0] = append([]byte("x"), l[0]...); return l },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyTrail(t, base)
			edit(t, activePath(t, dir), func(b []byte) []byte {
				lines := bytes.SplitAfter(b, []byte("\n"))
				return bytes.Join(spoil(lines[:len(lines)-1]), nil)
			})
			if r, err := Verify(dir); err != nil || r.OK() {
				t.Errorf("before the next start: %v, %+v", err, r)
			}
			appendN(t, open(t, dir, Options{}), 1)
			if r, err := Verify(dir); err != nil || r.OK() {
				t.Errorf("after it: %v, %+v", err, r)
			}
		})
	}
}

// A writer may die between an object and the record that it is for.
func TestTornBehindAnObject(t *testing.T) {
	const object = `{"object":{"pid":1}}` + "\n"
	for name, residue := range map[string]string{
		"whole": object, "two": object + object, "half": object[:9], "no line end": object[:len(object)-1],
		"and half a record": object + `{"seq":4,"ti`,
	} {
		dir := crashedTrail(t, 3)
		edit(t, activePath(t, dir), func(b []byte) []byte {
			copy(b[len(trimZeros(b)):], residue)
			return b
		})
		if rep := verified(t, dir); len(rep.Notes) != 1 || rep.Last != 3 {
			t.Errorf("%s: before the next start: %+v", name, rep)
		}
		if losses := reopen(t, dir); len(losses) != 1 || losses[0].Reason != ReasonTornLine || losses[0].Lost != 1 {
			t.Errorf("%s: told %+v", name, losses)
		}
		verified(t, dir)
		if data, err := readPlain(activePath(t, dir)); err != nil || strings.Contains(string(data), `{"pid":1}`) {
			t.Errorf("%s: still there (%v)", name, err)
		}
	}
}

// The page of an object may be lost when the machine goes down, while those
// behind it are not: what refers to it is lost too, and told.
func TestPowerLossOfAnObject(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for i := range 6 {
		r := sharedRecord(uint32(1 + i/3)) // the fourth record brings an object
		if err := l.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	l.stop()
	l.done.Wait()
	l.release()
	l.closed = true
	otherBoot(t, dir, func(h *tip) { h.synced = 2 })
	edit(t, activePath(t, dir), func(b []byte) []byte {
		at := bytes.LastIndex(b, []byte(objectKey))
		clear(b[at : at+bytes.IndexByte(b[at:], '\n')])
		return b
	})
	if losses := reopen(t, dir); len(losses) != 1 || losses[0].Reason != ReasonPowerLoss || losses[0].Lost != 3 {
		t.Errorf("told %+v", losses)
	}
	if r := verified(t, dir); r.Lost() != 3 {
		t.Errorf("%+v", r)
	}
}
