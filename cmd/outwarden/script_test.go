package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/process"
)

var update = flag.Bool("update", false, "rewrite what scripts compare with")

// TestMain lets scripts call the program by its name, and make trails.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"outwarden": main,
		"mktrail":   func() { os.Exit(tool(writeSample(filepath.Join(os.Args[1], "audit")))) },
		"mksigned":  func() { os.Exit(tool(writeSigned(os.Args[1]))) },
		"mkca":      func() { os.Exit(tool(writeAuthority(os.Args[1]))) },
		"spoil":     func() { os.Exit(tool(spoil(os.Args[1], os.Args[2]))) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			return nil
		},
	})
}

// exits runs a command that must end with an exit code: exits CODE COMMAND...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit %d, want %s: %v", code, args[0], err)
	}
}

// tool is the exit code of a program that only scripts use.
func tool(err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(os.Stderr, err)
	return exitFailed
}

// spoil tampers with the newest segment.
func spoil(how, state string) error {
	files, err := filepath.Glob(filepath.Join(state, "audit", "*.jsonl"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no segment in %s: %v", state, err)
	}
	data, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return err
	}
	lines := recordsOf(data)
	switch how {
	case "byte":
		lines[2] = bytes.Replace(lines[2], []byte("503"), []byte("200"), 1)
	case "remove":
		lines = append(lines[:2], lines[3:]...)
	case "swap":
		lines[2], lines[3] = lines[3], lines[2]
	case "cut":
		lines = lines[:5]
	case "escape": // what our own writer would never write
		lines[2] = append([]byte("\x1b[2Jowned "), lines[2]...)
	}
	return os.WriteFile(files[len(files)-1], bytes.Join(lines, nil), 0o600)
}

// recordsOf splits a segment into records, each with the objects in front of it.
func recordsOf(segment []byte) [][]byte {
	var records [][]byte
	var front []byte
	for line := range bytes.Lines(segment) {
		front = append(front, line...)
		if bytes.HasPrefix(line, []byte(`{"seq":`)) {
			records, front = append(records, front), nil
		}
	}
	return records
}

// writeSample makes a trail in dir.
func writeSample(dir string) error {
	l, err := audit.Open(dir, audit.Options{})
	if err != nil {
		return err
	}
	for _, r := range sample() {
		if err := l.Append(&r); err != nil {
			return err
		}
	}
	return l.Close()
}

// sample is what a host may have seen one noon.
func sample() []audit.Record {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	shells := []process.Parent{{PID: 900, Exe: "/usr/bin/bash"}, {PID: 1, Exe: "/usr/lib/systemd/systemd"}}
	billing := &process.Identity{
		PID: 4711, Start: at(-60_000), Exe: "/opt/billing/bin/transfer",
		ExeSHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Argv:      []string{"transfer", "--note", "two words"}, UID: 1000, User: "billing", Unit: "billing.service",
		Cgroup: "/system.slice/billing.service", Parents: shells[1:],
	}
	curl := &process.Identity{PID: 4720, Start: at(1000), Exe: "/usr/bin/curl", Argv: []string{"curl", "https://api.partner.example/api/v1/balance"}, User: "root", Parents: shells}
	evil := &process.Identity{PID: 4730, Start: at(2000), Exe: "/tmp/\x1b[31mred\nline", Argv: []string{"\x1b[2J", "\u202egnp.exe"}, UID: 33, User: "www-data"}
	partner := &audit.Endpoint{IP: "203.0.113.10", Port: 443}
	call := audit.Record{
		Process: billing, Original: partner, SNI: "api.partner.example", Host: "api.partner.example", Method: "POST",
		Path: "/api/v1/transfers?account=[redacted]", Route: "partner-transfers", Decision: "intercept", Flow: "m2kq81xk3f0a",
		Credentials: []audit.Credential{{Name: "partner-token", Version: "1a2b3c", Form: "bearer"}, {Name: "partner-hmac", Version: "4d5e6f", Form: "signature"}},
		Signature:   &audit.Signature{Scheme: "knoxcall", KeyID: "partner-hmac", Nonce: "c0ffee", Timestamp: start.Unix()},
		Upstream:    &audit.Upstream{IP: "203.0.113.10", Port: 443, TLS: "1.3", ALPN: "http/1.1", CertSHA256: audit.Digest{1}, ClientCert: audit.Digest{2}},
		EgressIP:    "198.51.100.20",
	}
	intent, result, failed := call, call, call
	intent.Kind, intent.Time = audit.KindCredential, at(221)
	result.Kind, result.Time, result.Status, result.BytesIn, result.BytesOut, result.DurationMS = audit.KindRequest, at(233), 200, 412, 1733, 12.345
	failed.Kind, failed.Time, failed.Flow, failed.Status, failed.DurationMS = audit.KindRequest, at(900), "m2kq81xk3f0b", 503, 1834.2
	denied := audit.Record{
		Kind: audit.KindRequest, Time: at(1500), Flow: "m2kq81xk3f0c", Process: curl, Original: partner, SNI: "api.partner.example",
		Host: "api.partner.example", Method: "GET", Path: "/api/v1/balance", Decision: "deny", Reason: "identity_mismatch", DurationMS: 0.412,
	}
	passed := audit.Record{
		Kind: audit.KindConnection, Time: at(1700), Flow: "m2kq81xk3f0d", Process: curl, Original: &audit.Endpoint{IP: "192.0.2.7", Port: 8443},
		SNI: "cdn.example", Decision: "passthrough", BytesIn: 1_234_567, BytesOut: 890, DurationMS: 431,
	}
	forged := audit.Record{
		Kind: audit.KindRequest, Time: at(2100), Flow: "m2kq81xk3f0e", Process: evil, Original: partner, Host: "api.partner.example",
		Method: "GET", Path: "/\x1b]0;owned\x07\r\n12:00:00 root(1) \u009b31m\xff", Decision: "deny", Reason: "no_route",
	}
	lost := audit.Record{Kind: audit.KindLoss, Time: at(3000), Reason: audit.ReasonWriteFailed, Lost: 2}
	return []audit.Record{intent, result, failed, denied, passed, forged, lost}
}
