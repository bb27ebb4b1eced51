package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/flow"
)

// What repeats is told once a second, with how often it came meanwhile; another is
// told at once, and however many there are, few are remembered.
func TestDefects(t *testing.T) {
	var d defects
	now := time.Now()
	for i, want := range []struct {
		text  string
		after time.Duration
		more  int
		due   bool
	}{
		{"full", 0, 0, true}, {"full", 1, 0, false}, {"other", 2, 0, true}, {"full", 999 * time.Millisecond, 0, false},
		{"full", time.Second, 2, true}, {"full", time.Second + 1, 0, false}, {"full", 2 * time.Second, 1, true}, {"other", 3 * time.Second, 0, true},
	} {
		if more, due := d.due(want.text, now.Add(want.after)); more != want.more || due != want.due {
			t.Errorf("%d: %d, %v; want %d, %v", i, more, due, want.more, want.due)
		}
	}
	for i := range 10 * mostDefects {
		d.due(fmt.Sprint(i), now)
	}
	if len(d.told) > mostDefects {
		t.Errorf("%d are remembered", len(d.told))
	}
}

// A workload whose connects are refused fills no log, whatever reports them.
func TestReportIsNoFlood(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	d := &Daemon{o: Options{Log: log}}
	const all = 5000
	for range all {
		d.report("identify", flow.ReasonIdentityGone)
		d.report("network namespace", errMany)
		d.report("accept", nil)
		d.report("kernel events", context.Canceled)
	}
	d.report("kernel hooks", errors.New("another"))
	if n := strings.Count(out.String(), "\n"); n < 3 || n > all/10 || !strings.Contains(out.String(), "another") || strings.Contains(out.String(), "kernel events") {
		t.Errorf("%d lines, the first: %.500s", n, &out)
	}
}
