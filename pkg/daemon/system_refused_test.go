package daemon_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
)

// Whatever is amiss: no credential leaves, the record says why, and the client
// is told the truth.
func TestSystemRefused(t *testing.T) {
	w := newWorld(t)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	origins := map[string]*recorder{
		"good.example":       w.origin("good.example", "198.51.100.81", w.certify("good.example", tomorrow, false)),
		"other.example":      w.origin("other.example", "198.51.100.82", w.certify("other.example", tomorrow, false)),
		"wrongname.example":  w.origin("wrongname.example", "198.51.100.83", w.certify("good.example", tomorrow, false)),
		"expired.example":    w.origin("expired.example", "198.51.100.84", w.certify("expired.example", yesterday, false)),
		"passed.example":     w.origin("passed.example", "198.51.100.86", w.certify("passed.example", tomorrow, false)),
		"selfsigned.example": w.origin("selfsigned.example", "198.51.100.85", w.certify("selfsigned.example", tomorrow, true)),
	}
	s := w.standard()
	s.from = "{exe: " + program("client") + "}"
	s.to = "{host: [" + partnerName + ", good.example, wrongname.example, expired.example, selfsigned.example, gone.example], ports: [80, 443]}"
	s.extra = "- name: passed\n  to: {host: passed.example}\n  action: passthrough\n"
	w.configure(s)
	w.hosts("gone.example", "198.51.100.89")
	stranger := w.path("stranger")
	must(t, os.Link(program("client"), stranger))
	w.daemon()
	// What a stranger gets past us undecrypted it must verify itself.
	w.write("roots.pem", w.read("run/trust/bundle.pem")+w.read("partner/ca.pem"))

	for _, c := range []struct {
		name   string
		exe    string
		args   []string
		says   string // what the client must be told
		reason string
	}{
		{"wrong executable", stranger, []string{partnerURL}, "source address 198.51.100.1 is not on the allow list", "identity_mismatch"},
		{"wrong host", "", []string{"https://other.example/x"}, "recorded", "no_route"},
		{"Host unlike SNI", "", []string{"https://good.example/x", "other.example"}, "authority_mismatch", "authority_mismatch"},
		{"SNI unlike Host", "", []string{"https://other.example/x", "good.example"}, "recorded", "no_route"},
		{"literal IP", "", []string{"https://198.51.100.81/x"}, "cannot validate certificate for 198.51.100.81", "no_server_name"},
		{"another name", "", []string{"https://wrongname.example/x"}, "upstream_name", "upstream_name"},
		{"expired", "", []string{"https://expired.example/x"}, "upstream_expired", "upstream_expired"},
		{"self-signed", "", []string{"https://selfsigned.example/x"}, "upstream_untrusted", "upstream_untrusted"},
		{"plain HTTP", "", []string{"http://good.example/x"}, "cleartext", "cleartext"},
		{"nobody there", "", []string{"https://gone.example/x"}, "upstream_unreachable", "upstream_unreachable"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			if c.exe == "" {
				c.exe = program("client")
			}
			p := w.begin(w.work, append([]string{"env", "SSL_CERT_FILE=" + w.path("roots.pem"), c.exe, "get"}, c.args...)...)
			p.end()
			said := p.stdout.String() + p.stderr.String()
			if !strings.Contains(said, c.says) {
				t.Errorf("the client was told %q, want %q", said, c.says)
			}
			pid := uint32(p.Process.Pid)
			r := w.find(c.name, func(r *audit.Record) bool { return r.Process != nil && r.Process.PID == pid })
			if r.Reason != c.reason || len(r.Credentials) > 0 || r.Signature != nil {
				t.Errorf("reason %q, want %q: %s", r.Reason, c.reason, r.Line())
			}
		})
	}
	w.lies("passed.example", "198.51.100.86", "198.51.100.81")
	for name, want := range map[string]int{"good.example": 0, "passed.example": 1, "other.example": 2, "wrongname.example": 0, "expired.example": 0, "selfsigned.example": 0} {
		if got := origins[name].requests(t); got != want {
			t.Errorf("%s got %d requests, want %d", name, got, want)
		}
	}
	if intents := w.records(audit.KindCredential); len(intents) > 0 {
		t.Errorf("an intent was written: %s", intents[0].Line())
	}

	// And in the middle of all that, the right one still works.
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", "https://good.example/x"); !strings.Contains(r.stdout, "recorded") {
		t.Errorf("the right request: %v", r)
	}
	if n := len(w.records(audit.KindCredential)); n != 1 {
		t.Errorf("%d intents after the right request, want 1", n)
	}
}

// lies has a workload say a name that a route passes on its way to another address: it
// is taken to where the name leads.
func (w *world) lies(name, addr, away string) {
	w.t.Helper()
	r := w.do(w.work, "curl", "-sk", "--resolve", name+":443:"+away, "https://"+name+"/x")
	if !strings.Contains(r.stdout, "recorded") {
		w.t.Errorf("the liar was told %v", r)
	}
	rec := w.find("a lie", func(r *audit.Record) bool { return r.SNI == name })
	if rec.Reason != "address_replaced" || rec.Original.IP != away || rec.Upstream == nil || rec.Upstream.IP != addr {
		w.t.Errorf("a lie: %s", rec.Line())
	}
}
