package proxy_test

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
	"github.com/outwarden/outwarden/pkg/policy"
)

// excused are the findings that scorecard B1 leaves out, with the reason.
var excused = map[string]string{
	"cert_expirationStatus": "leaves live a day",
	"cert_notAfter":         "leaves live a day",
	"cert_revocation":       "leaves live a day, and there is nobody to ask",
	"DNS_CAArecord":         "it is about the public web",
	"HSTS":                  "headers are the origin's",
	"security_headers":      "headers are the origin's",
	"TLS_session_ticket":    "crypto/tls tells clients of TLS 1.3 that a ticket lives 7 days; taken is it for one, see TestTicketKeysLiveADay",
}

// finding is one line of testssl.sh.
type finding struct{ ID, Severity, Finding string }

// TestTestssl is scorecard B1: testssl.sh, of Debian's package, against a name
// that the interceptor answers for. The gate asks for protocols and kinds of
// suites, which takes it half a minute; `make conformance-tls` for all there is.
func TestTestssl(t *testing.T) {
	if _, err := exec.LookPath("testssl"); err != nil {
		netnstest.Skip(t, "testssl is not installed")
	}
	if testing.Short() {
		t.Skip("it waits for a program of its own")
	}
	origin := new(anyone)
	w := newWorld(t, func(o *options) { o.Flows = origin })
	origin.original.Store(w.originFor(nil, host).addr)
	w.use(policy.Intercept)
	checks, least := []string{"--protocols", "--std"}, []string{"TLS1_2", "TLS1_3", "cipherlist_NULL"}
	if conformanceInFull() {
		checks, least = nil, append(least, "cert_trust", "ROBOT", "LUCKY13", "secure_renego", "cipher_x1301")
	}
	found := w.testssl(checks...)
	for _, id := range least {
		if !slices.ContainsFunc(found, func(f finding) bool { return f.ID == id }) {
			t.Errorf("nothing was found about %s", id)
		}
	}
	for _, f := range found {
		if excused[f.ID] == "" && !slices.Contains([]string{"OK", "INFO", "WARN", "DEBUG"}, f.Severity) {
			t.Errorf("%s %s: %s", f.Severity, f.ID, f.Finding)
		}
		if strings.HasPrefix(f.ID, "cipher_x") && !strings.Contains(f.Finding, "GCM") && !strings.Contains(f.Finding, "POLY1305") {
			t.Errorf("not an AEAD: %s", f.Finding)
		}
	}
}

// conformanceInFull reports whether suites that take minutes run to their end.
func conformanceInFull() bool { return os.Getenv("OUTWARDEN_CONFORMANCE_FULL") != "" }

func (w *world) testssl(checks ...string) []finding {
	w.t.Helper()
	ca, out := w.caFile(), filepath.Join(w.t.TempDir(), "out.json")
	_, port, err := net.SplitHostPort(w.ln.Addr().String())
	must(w.t, err)
	args := append(checks, "--warnings", "batch", "--color", "0", "--openssl=/usr/bin/openssl", "--ip", "127.0.0.1", "--add-ca", ca, "--jsonfile", out)
	cmd := exec.CommandContext(w.t.Context(), "testssl", append(args, "https://"+host+":"+port)...)
	log, _ := cmd.CombinedOutput() // its status counts findings
	text, err := os.ReadFile(out)
	var found []finding
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil {
		w.t.Fatalf("testssl: %v\n%s", err, log)
	}
	return found
}

// caFile holds the root that workloads trust.
func (w *world) caFile() string {
	w.t.Helper()
	name := filepath.Join(w.t.TempDir(), "ca.pem")
	must(w.t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Root().Raw}), 0o600))
	return name
}

// anyone are the flows of programs that dial by themselves: none was published,
// and all are the application's. Where they meant to go is known once that stands.
type anyone struct{ original atomic.Value } // netip.AddrPort

func (a *anyone) Lookup(_ uint64, _, remote netip.AddrPort) (flow.Flow, bool) {
	return flow.Flow{
		Cookie: uint64(remote.Port()), Source: remote, Original: a.original.Load().(netip.AddrPort), At: time.Now(), Verdict: flow.VerdictRedirect,
		Caller: flow.Caller{PID: appPID, Start: time.Second, Comm: "client"},
	}, true
}

func (a *anyone) Reaches(uint64, netip.Addr) bool { return true }
