package config_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
)

// The kernel names an executable by its file, and never by a link to it.
func TestLinkToExecutable(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tool := write(t, dir, "lib/tool-1.2", "")
	for link, to := range map[string]string{"bin": "lib", "lib/tool": "tool-1.2"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for exe, real := range map[string]string{
		"/lib/tool": tool, "/bin/tool-1.2": tool, "/bin/*": filepath.Join(dir, "lib/*"), "/bin/t*/**": filepath.Join(dir, "lib/t*/**"),
		"/lib/tool-1.2": "", "/lib/*": "", "/bin": filepath.Join(dir, "lib"), "/b*/tool": "", "/none/tool": "",
	} {
		exe = dir + exe
		_, warnings, err := config.Load(write(t, dir, "c.yaml", "routes: [{name: a, from: {exe: "+strconv.Quote(exe)+"}, to: {host: a.example}}]"))
		want := ":1:32: " + strconv.Quote(exe) + " leads over a link and matches nothing on this host, where the kernel says " + strconv.Quote(real)
		if err != nil || len(warnings) > 1 || (len(warnings) == 1) != (real != "") || real != "" && !strings.Contains(warnings[0].String(), want) {
			t.Errorf("%s: %v, %v", exe, warnings, err)
		}
	}
}
