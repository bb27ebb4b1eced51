package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadPlaces(t *testing.T) {
	const given = "state_dir: s\nrun_dir: /r\ncapture: {pin_dir: /sys/fs/bpf/p}\n"
	for name, c := range map[string]struct{ text, fails string }{
		"alone":         {given, ""},
		"wrong routes":  {given + "routes: [{name: x, action: maybe}]\nnonsense: 1\n", ""},
		"wrong capture": {"state_dir: s\nrun_dir: /r\ncapture: {pin_dir: /sys/fs/bpf/p, fail: maybe, ports: x}\n", ""},
		"no YAML":       {given + "routes: [", "places.yaml:"},
		"no path":       {"run_dir: [x]\n", "places.yaml:1:"},
		"no room":       {"run_dir: /" + strings.Repeat("r", 93) + "\n", "places.yaml:1:10: run_dir /rrr"},
		"no pins":       {"capture: {pin_dir: {a: b}}\n", "places.yaml:1:"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "places.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadPlaces(path)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			if err != nil || got.StateDir != filepath.Join(filepath.Dir(path), "s") || got.RunDir != "/r" || got.Capture.PinDir != "/sys/fs/bpf/p" {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
	if _, err := LoadPlaces(filepath.Join(t.TempDir(), "missing.yaml")); err == nil {
		t.Error("a file that is not there is read")
	}
}
