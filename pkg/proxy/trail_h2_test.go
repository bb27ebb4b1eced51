package proxy_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/policy"
)

// TestSyncedIntents: a request whose intent waits for the disk holds up no other
// on its connection.
func TestSyncedIntents(t *testing.T) {
	slow := &slowRecords{records: &records{}, slow: make(chan struct{})}
	w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {}, func(o *options) { o.Records = slow })
	p := w.peer(o)
	waits := post()
	waits[7] = "/slow"
	_ = p.head(1, false, waits...)
	_ = p.f.WriteData(1, true, []byte("content"))
	_ = p.head(3, true, post()...)
	p.sees("HEAD 3 200")
	if p.saw("HEAD 1") {
		t.Error("answered before its intent was written")
	}
	close(slow.slow)
	p.sees("HEAD 1 200")
	_ = p.c.Close()
	w.quiet()
	if n := len(slow.of(audit.KindRequest)); n != 2 {
		t.Errorf("%d records", n)
	}
}

// TestIntentFirst: a workload that leaves while the intent waits for the disk has its
// result in the trail behind that.
func TestIntentFirst(t *testing.T) {
	slow := &slowRecords{records: &records{}, begun: make(chan struct{}, 1), slow: make(chan struct{})}
	w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {}, func(o *options) { o.Records = slow })
	p := w.peer(o)
	waits := post()
	waits[7] = "/slow"
	_ = p.head(1, true, waits...)
	<-slow.begun
	_ = p.f.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
	time.Sleep(50 * time.Millisecond) // a result that does not wait is there by then
	close(slow.slow)
	_ = p.c.Close()
	w.quiet()
	var kinds []string
	for _, r := range slow.all {
		kinds = append(kinds, r.Kind)
	}
	if want := []string{audit.KindCredential, audit.KindRequest}; !slices.Equal(kinds, want) {
		t.Errorf("the trail has %q, want %q", kinds, want)
	}
}

// slowRecords keeps what is written of /slow waiting.
type slowRecords struct {
	*records
	begun chan struct{} // may be nil
	slow  chan struct{}
}

func (*slowRecords) Waits() bool { return true }

func (r *slowRecords) Append(rec *audit.Record) error {
	if rec.Path == "/slow" && rec.Kind == audit.KindCredential {
		if r.begun != nil {
			r.begun <- struct{}{}
		}
		<-r.slow
	}
	return r.records.Append(rec)
}

// TestDefectsOfTheTrail: a result that could not be written is told, as over
// HTTP/1.
func TestDefectsOfTheTrail(t *testing.T) {
	for _, alpn := range versions {
		w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {})
		full := errors.New("disk full")
		w.use(policy.Intercept, w.openRoute())
		w.records.breakWith(full)
		if status, _ := w.fetch(o, alpn, "GET", "https://"+host+"/"); status != 200 {
			t.Errorf("%s: status %d", alpn, status)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if w.defects.has(full) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: nothing was said of it", alpn)
			}
		}
	}
}
