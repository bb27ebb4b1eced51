package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
)

// Whoever forgets --config is told that there was nothing to check.
func TestFilesOf(t *testing.T) {
	there, missing := filepath.Join(t.TempDir(), "config.yaml"), filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if files, more := filesOf(&config.Config{Files: []string{there, "a.yaml"}}); !slices.Equal(files, []string{there, "a.yaml"}) || more != "" {
		t.Errorf("%q %q", files, more)
	}
	if files, more := filesOf(&config.Config{Files: []string{missing, "a.yaml"}}); !slices.Equal(files, []string{"a.yaml"}) || !strings.Contains(more, "there is no "+missing) {
		t.Errorf("%q %q", files, more)
	}
}

// What goes to a file is not coloured because something else goes to a terminal.
func TestCheckColours(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("default: maybe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		e, _, stderr := newTestEnv(!want, nil)
		e.errTerminal = want
		if code := execute(t.Context(), e, []string{"check", file}); code != exitFailed || sgr.MatchString(stderr.String()) != want {
			t.Errorf("stderr a terminal: %t: exit %d: %q", want, code, stderr)
		}
	}
}
