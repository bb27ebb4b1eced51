package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
)

func TestRoutesDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "config.yaml", "routes: [{name: main, to: {host: m.example}}]\nsecrets: {s: {file: s}}\n")
	write(t, dir, "routes.d/20-b.yaml", "routes: [{name: b, from: {user: u}, to: {host: b.example}, inject: {bearer: secret:s}}]\n")
	write(t, dir, "routes.d/10-a.yaml", "routes: [{name: a, from: {user: u}, to: {host: a.example}, inject: {bearer: secret:late}}]\n")
	write(t, dir, "routes.d/30-secrets.yaml", "secrets: {late: {file: late}}\n")
	write(t, dir, "routes.d/notes.txt", "not: read\n")
	c, warnings, err := config.Load(filepath.Join(dir, "config.yaml"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", err, warnings)
	}
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	if want := []string{"main", "a", "b"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
	if len(c.Files) != 4 {
		t.Errorf("files %v", c.Files)
	}
	if got, want := c.Secrets["late"].File, filepath.Join(dir, "routes.d/late"); got != want {
		t.Errorf("a path beside its file is %q, want %q", got, want)
	}
}

func TestRoutesDirectoryErrors(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir, "config.yaml", "routes: [{name: a, to: {host: m.example}}]\nsecrets: {s: {file: s}}\n")
	write(t, dir, "routes.d/a.yaml", "default: deny\ncapture: {fail: open}\nroutes: [{name: a, to: {host: a.example}}]\nsecrets: {s: {file: s}}\n")
	_, _, err := config.Load(main)
	if err == nil {
		t.Fatal("it loads")
	}
	for _, want := range []string{
		"routes.d/a.yaml:1:10: default cannot be set here",
		"routes.d/a.yaml:2:11: capture cannot be set here",
		`routes.d/a.yaml:3:17: route "a" is already defined at ` + main + ":1:17",
		`routes.d/a.yaml:4:11: secret "s" is already defined at ` + main + ":2:11",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among\n%v", want, err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "routes.d"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(main); err == nil || !strings.Contains(err.Error(), "written by everyone") {
		t.Errorf("routes that everyone can write: %v", err)
	}
}

// Whatever the main file may hold beside routes and secrets is refused elsewhere, and not
// passed over: it would be a rule that does not hold.
func TestHostSettingsAmongRoutes(t *testing.T) {
	schema, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Properties map[string]any }
	if err := json.Unmarshal(schema, &file); err != nil || len(file.Properties) < 3 {
		t.Fatalf("%v: %v", err, file)
	}
	values := map[string]string{
		"capture": "{fail: open}", "default": "deny", "state_dir": "/s", "run_dir": "/r", "drain": "5m",
		"authority": "{tpm: /dev/tpm0}", "dns": "{servers: 192.0.2.1}", "audit": "{durability: synced}",
	}
	for key := range file.Properties {
		if key == "routes" || key == "secrets" {
			continue
		}
		dir := t.TempDir()
		main := write(t, dir, "config.yaml", key+": "+values[key])
		if _, _, err := config.Load(main); err != nil {
			t.Errorf("in the main file: %v", err)
		}
		write(t, dir, "config.yaml", "")
		write(t, dir, "routes.d/a.yaml", key+": "+values[key])
		if _, _, err := config.Load(main); err == nil || !strings.Contains(err.Error(), key+" cannot be set here") {
			t.Errorf("%s in routes.d: %v", key, err)
		}
	}
}

// What stands beside the routes and is none of them is told, not passed over.
func TestStrangersAmongRoutes(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir, "config.yaml", "")
	routes := write(t, dir, "routes.d/a.yaml", "routes: [{name: a, to: {host: a.example}, action: deny}]")
	write(t, dir, "routes.d/b.yml", "routes: [{name: b, to: {host: b.example}, action: deny}]")
	write(t, dir, "routes.d/README", "not ours")
	c, warnings, err := config.Load(main)
	if err != nil || len(c.Routes) != 1 || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "routes.d/b.yml: file is not read") {
		t.Errorf("%v, %v", warnings, err)
	}
	if err := os.Chmod(main, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := config.Load(main); err != nil || len(warnings) != 2 || !strings.Contains(warnings[1].String(), "config.yaml: file can be written by everyone") {
		t.Errorf("%v, %v", warnings, err)
	}
	if err := os.Chmod(routes, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(main); err == nil || !strings.Contains(err.Error(), "chmod o-w "+routes) {
		t.Errorf("routes that everyone can write: %v", err)
	}
	if err := errors.Join(os.Remove(routes), syscall.Mkfifo(routes, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(main); err == nil || !strings.Contains(err.Error(), "a.yaml is not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
}
