package config_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
)

var byText = cmp.Options{
	cmp.Comparer(func(a, b match.Host) bool { return a == b }),
	cmp.Comparer(func(a, b match.Path) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b match.Glob) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestExample(t *testing.T) {
	c, _, err := config.Load("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	at := func(line, column int) config.Position {
		return config.Position{File: "testdata/example.yaml", Line: line, Column: column}
	}
	want := &config.Config{
		Files: []string{"testdata/example.yaml"},
		Capture: config.Capture{
			Backend: config.Rewrite,
			Scope:   []config.Target{{Cgroup: "/"}},
			Exclude: []config.Target{{Unit: "ssh.service"}},
			Ports:   []uint16{80, 443},
			PinDir:  "/sys/fs/bpf/outwarden",
		},
		StateDir: "/var/lib/outwarden",
		RunDir:   "/run/outwarden",
		Drain:    30 * time.Second,
		Secrets: map[string]config.Source{
			"partner-token": {File: filepath.Join(here, "secrets/partner-token"), Position: at(4, 3)},
			"partner-key":   {Systemd: "partner-key", Position: at(5, 3)},
			"partner-cert":  {File: "/etc/outwarden/secrets/cert.pem", Position: at(6, 3)},
			"partner-hmac":  {File: filepath.Join(here, "secrets/hmac"), Position: at(7, 3)},
		},
		Routes: []config.Route{{
			Route: policy.Route{
				Name:   "partner-transfers",
				From:   policy.From{Exe: globs(t, "/opt/billing/bin/*"), Users: []string{"billing"}, Units: globs(t, "billing.service")},
				To:     policy.To{Hosts: hosts(t, "api.partner.example"), Ports: []uint16{443}, Methods: []string{"GET", "POST"}, Paths: paths(t, "/api/v1/**")},
				Action: policy.Intercept,
			},
			Position: at(9, 9),
			Upstream: config.Upstream{
				Certificate: config.Material{Secret: "partner-cert"},
				Key:         config.Material{Secret: "partner-key"},
				CA:          config.Material{File: filepath.Join(here, "ca.pem")},
				EgressIP:    netip.MustParseAddr("198.51.100.20"),
			},
			Inject: []config.Inject{{Form: config.Bearer, Secret: "partner-token"}},
			Sign:   &config.Sign{HMAC: &config.HMAC{Keys: []string{"partner-hmac"}, Template: preset(t, "knoxcall")}},
			Scrub:  config.ScrubOn,
			Limits: config.Limits{SignedBody: 16 << 20, EditedBody: 1 << 20},
		}},
	}
	if diff := cmp.Diff(want, c, byText); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if p := c.Policy(); p.Decide(&policy.Request{Host: "api.partner.example", Port: 443}).Action != policy.Passthrough {
		t.Error("a process that is not known gets the route")
	}
}

func TestEverySetting(t *testing.T) {
	c := load(t, `
capture: {scope: {unit: a.service}, exclude: [{cgroup: /b/}], ports: 8443, fail: open, pin_dir: /p, listen: [15001, 15002], mark: 0x20}
default: deny
state_dir: state
run_dir: /r
dns: {servers: [192.0.2.53, "[2001:db8::53]:5353"]}
audit: {durability: synced, on_failure: allow}
authority: {tpm: /dev/tpmrm0}
secrets: {t: {file: /t}}
routes:
- name: all-forms
  mode: report
  cleartext: true
  from: {uid: [0, 1000], cgroup: /a/**, exe_sha256: `+strings.Repeat("AB", 32)+`}
  to: {host: [a.example, "*.b.example"]}
  upstream: {allow_private: true}
  inject:
  - basic: {username: u, password: secret:t}
  - header: {name: X-Key, value: secret:t, prefix: "Key "}
  - query: {name: key, value: secret:t}
  sign: {hmac: {key: secret:t, preset: knoxcall, nonce: true, key_id: k1}}
  limits: {signed_body: 1MiB}
  scrub: alert
- {name: gone, to: {host: c.example}, action: deny, mode: observe}
`)
	want := config.Capture{
		Scope: []config.Target{{Unit: "a.service"}}, Exclude: []config.Target{{Cgroup: "/b"}}, Ports: []uint16{8443},
		FailOpen: true, PinDir: "/p", Listen: []uint16{15001, 15002}, Mark: 0x20, Backend: config.Rewrite,
	}
	if diff := cmp.Diff(want, c.Capture); diff != "" {
		t.Errorf("capture -want +got:\n%s", diff)
	}
	if c.Default != policy.Deny || filepath.Base(c.StateDir) != "state" || !filepath.IsAbs(c.StateDir) || c.RunDir != "/r" {
		t.Errorf("default %v, state %q, run %q", c.Default, c.StateDir, c.RunDir)
	}
	if servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:5353")}; !slices.Equal(c.DNS.Servers, servers) {
		t.Errorf("servers %v", c.DNS.Servers)
	}
	if c.Authority != (config.Authority{TPM: "/dev/tpmrm0"}) {
		t.Errorf("authority %+v", c.Authority)
	}
	if c.Audit != (config.Audit{Synced: true, AllowOnFailure: true}) {
		t.Errorf("audit %+v", c.Audit)
	}
	r := c.Routes[0]
	if r.Mode != policy.Report || !r.Cleartext || !r.Upstream.AllowPrivate || r.Limits.SignedBody != 1<<20 || !r.Credentialed() {
		t.Errorf("route %+v", r)
	}
	if !slices.Equal(r.From.Users, []string{"0", "1000"}) || !slices.Equal(r.From.ExeSHA256, []string{strings.Repeat("ab", 32)}) {
		t.Errorf("from %+v", r.From)
	}
	injects := []config.Inject{
		{Form: config.Basic, Secret: "t", Username: "u"},
		{Form: config.Header, Secret: "t", Field: "X-Key", Prefix: "Key "},
		{Form: config.Query, Secret: "t", Field: "key"},
	}
	if diff := cmp.Diff(injects, r.Inject); diff != "" {
		t.Errorf("inject -want +got:\n%s", diff)
	}
	sign := config.Sign{HMAC: &config.HMAC{Keys: []string{"t"}, Template: preset(t, "knoxcall"), Nonce: true, KeyID: "k1"}}
	if diff := cmp.Diff(sign, *r.Sign); diff != "" {
		t.Errorf("sign -want +got:\n%s", diff)
	}
	if r := c.Routes[1]; r.Action != policy.Deny || r.Mode != policy.Observe || r.Credentialed() {
		t.Errorf("second route %+v", r)
	}
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "default: passthrough\n"} {
		c := load(t, text)
		want := config.Capture{Scope: []config.Target{{Cgroup: "/"}}, Ports: []uint16{80, 443}, PinDir: "/sys/fs/bpf/outwarden", Backend: config.Rewrite}
		if diff := cmp.Diff(want, c.Capture); diff != "" {
			t.Errorf("%q: capture -want +got:\n%s", text, diff)
		}
		if c.Default != policy.Passthrough || c.StateDir != "/var/lib/outwarden" || c.RunDir != "/run/outwarden" || len(c.Routes) > 0 || c.Audit != (config.Audit{}) {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestPortsOfRoutesAreCaptured(t *testing.T) {
	c := load(t, "routes:\n- {name: a, to: {host: a.example, ports: [8443, 443]}}\n- {name: b, to: {host: b.example, ports: 5000}}\n")
	if want := []uint16{80, 443, 5000, 8443}; !slices.Equal(c.Capture.Ports, want) {
		t.Errorf("ports %v, want %v", c.Capture.Ports, want)
	}
}

func TestMissingFile(t *testing.T) {
	if c, _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Errorf("a file that does not exist loads as %+v", c)
	}
	if _, err := os.Stat(filepath.Dir(config.DefaultPath)); err == nil {
		t.Skip("this host has a configuration")
	}
	if _, _, err := config.Load(""); err != nil {
		t.Errorf("without the default file: %v", err)
	}
}

// What is in scope and excluded at once is not captured, which hardly anyone means.
func TestScopeIsExcluded(t *testing.T) {
	for text, want := range map[string]string{
		"capture: {raw: record, scope: [{cgroup: /a}], exclude: [{cgroup: /a/}]}":                              ":1:58: /a is in scope and excluded",
		"capture: {raw: record, exclude: [{cgroup: /}]}":                                                       ":1:35: / is in scope and excluded",
		"capture: {scope: [{cgroup: /a}, {unit: b.service}], exclude: [{unit: c.service}, {unit: b.service}]}": ":1:83: b.service is in scope and excluded",
		"capture: {scope: [{cgroup: /a}], exclude: [{cgroup: /a/b}, {unit: a.service}]}":                       "",
	} {
		_, warnings, err := config.Load(write(t, t.TempDir(), "c.yaml", text))
		if said := fmt.Sprint(warnings); err != nil || (len(warnings) > 0) != (want != "") || !strings.Contains(said, want) {
			t.Errorf("%s: %s, %v", text, said, err)
		}
	}
}

// No shell reads a configuration: ~ would be a directory beside it.
func TestNoHomeInPaths(t *testing.T) {
	for text, refused := range map[string]bool{
		"state_dir: ~/state": true, "run_dir: '~'": true, "secrets: {s: {file: ~/token}}": true, "state_dir: ~state": false, "state_dir: /a/~/b": false,
	} {
		_, _, err := config.Load(write(t, t.TempDir(), "c.yaml", text))
		if refused != (err != nil) || refused && !strings.Contains(err.Error(), "~ is no home here") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A socket's path has 107 bytes at most, and bind would say no more than EINVAL.
func TestRunDirectoryHasRoom(t *testing.T) {
	for n, fits := range map[int]bool{92: true, 93: false} {
		dir := "/" + strings.Repeat("r", n)
		_, _, err := config.Load(write(t, t.TempDir(), "c.yaml", "run_dir: "+dir))
		if fits && err != nil || !fits && (err == nil || !strings.Contains(err.Error(), ":1:10: run_dir "+dir+" has more than 93 bytes")) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestOneValueIsAList(t *testing.T) {
	one := load(t, "routes: {name: a, from: {user: u, exe: /a}, to: {host: a.example, ports: 443, methods: get, paths: /v1}}\n")
	many := load(t, "routes: [{name: a, from: {user: [u], exe: [/a]}, to: {host: [a.example], ports: [443], methods: [GET], paths: [/v1]}}]\n")
	one.Files, many.Files = nil, nil
	one.Routes[0].Position, many.Routes[0].Position = config.Position{}, config.Position{}
	if diff := cmp.Diff(many, one, byText); diff != "" {
		t.Errorf("-list +single:\n%s", diff)
	}
}

// One version of YAML reads 0443 as 291, another as 443.
func TestNumbers(t *testing.T) {
	for text, want := range map[string]uint16{"443": 443, "0x1bb": 443, "0443": 0, "0o673": 0, "4_43": 0, "0b11": 0, "'443'": 0, "00": 0} {
		c, _, err := config.Load(write(t, t.TempDir(), "c.yaml", "capture: {ports: "+text+"}"))
		switch {
		case want == 0 && (err == nil || !strings.Contains(err.Error(), ":1:18: must be a whole number")):
			t.Errorf("%s: %v", text, err)
		case want != 0 && (err != nil || !slices.Equal(c.Capture.Ports, []uint16{want})):
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTPM(t *testing.T) {
	file := write(t, t.TempDir(), "config.yaml", "authority: {tpm: unix:tpm/socket}")
	c, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "unix:" + filepath.Join(filepath.Dir(file), "tpm/socket"); c.Authority.TPM != want {
		t.Errorf("%q, want %q", c.Authority.TPM, want)
	}
	for _, wrong := range []string{"tpm0", "unix:", "/var/lib/key", "tcp:127.0.0.1:2321"} {
		_, _, err := config.Load(write(t, t.TempDir(), "config.yaml", "authority: {tpm: '"+wrong+"'}"))
		if err == nil || !strings.Contains(err.Error(), "not a TPM") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// How long established connections may go on is a time.
func TestDrain(t *testing.T) {
	if c := load(t, "drain: 1m30s"); c.Drain != 90*time.Second {
		t.Errorf("drain: %v", c.Drain)
	}
	for _, wrong := range []string{"soon", "0s", "-1s", "30", "[1s]"} {
		_, _, err := config.Load(write(t, t.TempDir(), "config.yaml", "drain: "+wrong))
		if err == nil || !strings.Contains(err.Error(), "must be a time such as 30s") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// The schema and the decoder are made from one structure; the golden file shows
// a change of the format to a reviewer.
func TestSchema(t *testing.T) {
	got, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]any
		Additional *bool `json:"additionalProperties"`
	}
	if err := json.Unmarshal(got, &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Additional == nil || *schema.Additional || len(schema.Properties) != 10 {
		t.Errorf("%d properties, others allowed: %v", len(schema.Properties), schema.Additional)
	}
	golden(t, "testdata/schema.json", string(got))
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	c, _, err := config.Load(write(t, t.TempDir(), "config.yaml", text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return c
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func globs(t *testing.T, s ...string) []match.Glob { return all(t, match.ParseGlob, s) }
func hosts(t *testing.T, s ...string) []match.Host { return all(t, match.ParseHost, s) }
func paths(t *testing.T, s ...string) []match.Path { return all(t, match.ParsePath, s) }

func all[T any](t *testing.T, parse func(string) (T, error), patterns []string) (parsed []T) {
	t.Helper()
	for _, s := range patterns {
		p, err := parse(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, p)
	}
	return parsed
}
