package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/handover"
)

// TestExplainEnd: a successor's own words say why it ended, and where it had none ours
// do, whoever's child it was.
func TestExplainEnd(t *testing.T) {
	ours := errors.New("no step in time")
	for _, c := range []struct {
		ended, ours error
		want        string
	}{
		{handover.Words("no such port"), nil, "no such port"},
		{handover.Words("no such port"), ours, "no such port"},
		{errors.New("it ended"), ours, "no step in time"},
		{errors.New("signal: killed"), ours, "no step in time"},
		{errors.New("exit status 7"), nil, "exit status 7"},
	} {
		d := &Daemon{handoverError: c.ours}
		if got := d.explainEnd(c.ended); !strings.HasSuffix(got.Error(), ": "+c.want) {
			t.Errorf("%v, %v: %v, want %s", c.ended, c.ours, got, c.want)
		}
	}
}
