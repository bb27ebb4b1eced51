package daemon

import (
	"os"
	"strings"
	"testing"
)

// A file that is emptied and written anew is nothing for a moment, which is a whole
// configuration; a reload at that moment does not take it for one.
func TestReloadOfNothing(t *testing.T) {
	d := quiet(t)
	for _, text := range []string{"", "# soon\n"} {
		if err := os.WriteFile(d.o.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty or gone") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if d.loaded.failed == nil {
		t.Error("the failed reload is forgotten")
	}
}
