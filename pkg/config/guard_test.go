package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/config"
)

// Input that would exhaust the parser's stack is refused before, by its place.
func TestTooMuch(t *testing.T) {
	const n = 100_000
	for name, c := range map[string]struct{ text, want string }{
		"lists":       {"drain: 7s\n" + strings.Repeat("[", n), ":2:1: mappings or lists are nested"},
		"mappings":    {strings.Repeat("{a: ", n), ":1:1: mappings or lists are nested"},
		"blocks":      {"\r\n\r\n" + strings.Repeat("- ", n) + "a", ":3:1: mappings or lists are nested"},
		"after CR":    {"drain: 7s\r" + strings.Repeat("- ", n) + "a", ":2:1: mappings or lists are nested"},
		"keys":        {strings.Repeat("? ", n) + "a", ":1:1: mappings or lists are nested"},
		"over lines":  {strings.Repeat("[\n", n), ":65:1: mappings or lists are nested"},
		"entries":     {strings.Repeat("a: 1\n", n), ":10001:1: mapping has more than 10000 entries"},
		"by CR":       {strings.Repeat("a: 1\r", n), ":10001:1: mapping has more than 10000 entries"},
		"in items":    {"routes:\n- name: a\n" + strings.Repeat("\n  a: 1\n", n), ":20002:1: mapping has more than 10000 entries"},
		"over levels": {strings.Repeat("a: 1\n", 5000) + "a:\n" + strings.Repeat(" a: 1\n", 5000), ":10001:1: mapping has more than 10000 entries"},
	} {
		if _, _, err := config.Load(write(t, t.TempDir(), "c.yaml", c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	var many strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&many, "%sroute-%d\n  to:\n    host: a%d.example\n  action: deny\n", map[bool]string{true: "routes:\n- name: ", false: "- name: "}[i == 0], i, i)
	}
	if _, _, err := config.Load(write(t, t.TempDir(), "c.yaml", many.String())); err != nil {
		t.Errorf("many routes: %.200v", err)
	}
}

// A file without an end is not read to it.
func TestEndlessFile(t *testing.T) {
	if _, _, err := config.Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "file is larger than") {
		t.Errorf("%.200v", err)
	}
}

// An error repeats no more of a long value than tells which it is, and still says
// what is wrong with it.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("ä", 1<<16)
	for name, c := range map[string]struct{ text, want string }{
		"action": {"default: " + long, "is none of intercept, passthrough and deny"},
		"host":   {"routes: [{name: a, to: {host: 'https://" + long + "'}}]", "a whole URL stands here"},
		"path":   {"routes: [{name: a, to: {paths: '" + long + "'}}]", "path "},
		"exe":    {"routes: [{name: a, from: {exe: '" + long + "'}}]", "is not an absolute path"},
		"key":    {long + ": 1", "unknown key"},
		"twice":  {long + ": 1\n" + long + ": 1", "first in line 1"},
		"syntax": {"a: |" + long, "invalid header option"},
	} {
		_, _, err := config.Load(write(t, t.TempDir(), "c.yaml", c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2000 || !utf8.ValidString(err.Error()) {
			t.Errorf("%s: %.2000v", name, err)
		}
	}
}

// The parser repeats what it cannot read, which may be a secret.
func TestSyntaxErrorKeepsSecret(t *testing.T) {
	for _, text := range []string{"a: |CANARY", "a: >CANARY", "a: |CANARY \"b\"", "%YAML CANARY\n---\na: 1"} {
		_, _, err := config.Load(write(t, t.TempDir(), "c.yaml", text))
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A key pasted in the place of a path is one line to YAML. It would be repeated by the
// error of who opens it, in the log, by status, and by reload.
func TestPastedKeyIsNoPath(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\n        CANARY\n        -----END PRIVATE KEY-----\n"
	for _, text := range []string{
		"secrets:\n  s:\n    file: " + pem,
		"routes:\n- name: a\n  to: {host: a.example}\n  upstream:\n   mtls:\n    cert: c.pem\n    key: " + pem,
		"routes:\n- name: a\n  to: {host: a.example}\n  upstream:\n    ca: " + pem,
	} {
		_, _, err := config.Load(write(t, t.TempDir(), "c.yaml", text))
		if err == nil || !strings.Contains(err.Error(), "PEM stands here") || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// The parser would put U+FFFD for what is no UTF-8, and load another value than was
// written.
func TestNotUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"drain: 7s\nstate_dir: 'm\xfcller'\n":  ":2:14: file is not UTF-8 (save it as UTF-8)",
		"drain: 7s # m\xfcller\n":              ":1:14: file is not UTF-8",
		"\xff\xfed\x00r\x00a\x00":              ":1:1: file is not UTF-8",
		"drain: 7s\r\n\r\nstate_dir: \xe2\x82": ":3:12: file is not UTF-8",
	} {
		if _, _, err := config.Load(write(t, t.TempDir(), "c.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Some editors begin a UTF-8 file with a byte order mark, which YAML allows there.
func TestByteOrderMark(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("\ufeffdrain: 7s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Drain != 7*time.Second {
		t.Errorf("drain = %v, want 7s", c.Drain)
	}
}
