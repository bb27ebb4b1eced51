package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outwarden/outwarden/pkg/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each testdata/*.yaml has beside it what Load says of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got := said(t, file)
			if strings.Contains(got, "CANARY") {
				t.Error("an error repeats what may be a secret")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

func said(t *testing.T, file string) string {
	t.Helper()
	c, warnings, err := config.Load(file)
	var b strings.Builder
	if err != nil {
		b.WriteString(err.Error() + "\n")
		if all := (config.Errors)(nil); !errors.As(err, &all) || len(all) == 0 {
			t.Errorf("the error is a %T", err)
		}
	}
	for _, w := range warnings {
		b.WriteString("warning: " + w.String() + "\n")
	}
	if (c == nil) != (err != nil) {
		t.Errorf("configuration %v with error %v", c, err)
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
