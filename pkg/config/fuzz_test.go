package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad holds that no input panics, that errors name the file, and that what
// loads has no value that could break out of a line.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const name = "/f.yaml"
		c, _, err := load([]source{{path: name, data: data}})
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, name+":") {
					t.Errorf("error without a place: %q", line)
				}
			}
			return
		}
		for _, r := range c.Routes {
			for _, i := range r.Inject {
				if c.Secrets[i.Secret] == (Source{}) || !printable(i.Field+i.Prefix+i.Username) {
					t.Errorf("unsound injector %+v", i)
				}
			}
			if r.Name == "" {
				t.Error("route without a name")
			}
		}
		c.Policy()
	})
}
