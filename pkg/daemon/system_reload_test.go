package daemon_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A reload takes effect as a whole or not at all, and says why.
func TestSystemReload(t *testing.T) {
	w := newWorld(t)
	origin := w.origin("good.example", "198.51.100.81", w.certify("good.example", time.Now().Add(time.Hour), false))
	d := w.daemon()
	get := func(url string) string {
		r := w.do(w.work, "env", w.trusting(), program("client"), "get", url)
		return r.stdout + r.stderr
	}
	denied := func() bool { return strings.Contains(get("https://good.example/x"), "route_denies") }
	works := func() bool { return strings.Contains(get(partnerURL), `"ok":true`) }
	base := w.standard()
	change := func(s settings) result {
		w.configure(s)
		return w.outwarden("reload")
	}

	next := base
	next.extra = "- name: forbidden\n  to: {host: good.example, paths: [/**]}\n  action: deny\n"
	if r := change(next); r.code != 0 || !strings.Contains(r.stdout, "2 routes") {
		t.Fatalf("valid change: %v", r)
	}
	if !denied() || !works() {
		t.Errorf("the new route is not in force: %s", get("https://good.example/x"))
	}

	bad := next
	bad.extra += "- name: broken\n  action: maybe\n"
	r := change(bad)
	if r.code != 1 || !strings.Contains(r.stderr, "outwarden.yaml:") || !strings.Contains(r.stderr, "maybe") {
		t.Errorf("invalid change: %v", r)
	}
	if s := w.status(); !strings.Contains(s.Config.LastError, "maybe") || s.Config.Routes != 2 {
		t.Errorf("status after an invalid change: %+v", s.Config)
	}
	if r := w.outwarden("status"); r.code != 0 || !strings.Contains(r.stdout, "newest reload failed") {
		t.Errorf("status: %v", r)
	}
	if !denied() || !works() {
		t.Error("the old configuration is not in force any more")
	}

	fixed := next
	fixed.fail = "open"
	if r := change(fixed); r.code != 1 || !strings.Contains(r.stderr, "capture.fail has changed, which takes a restart") || !strings.Contains(r.stderr, "hint:") {
		t.Errorf("a change that takes a restart: %v", r)
	}

	missing := next
	missing.prefix = "  lost: {file: partner/no-such-file}\n"
	missing.extra += "- name: lost\n  to: {host: lost.example}\n  action: intercept\n  inject: [{bearer: secret:lost}]\n"
	if r := change(missing); r.code != 1 || !strings.Contains(r.stderr, `"lost"`) {
		t.Errorf("a secret that is not there: %v", r)
	}

	w.configure(base)
	must(t, d.Process.Signal(syscall.SIGHUP))
	w.await("the signal reloads", func() bool { s := w.status().Config; return s.Routes == 1 && s.LastError == "" })
	if denied() || origin.requests(t) > 0 && !works() {
		t.Error("the route of before is still in force")
	}
}

// A secret that changes on disk is in use soon, without a reload; one that goes
// stays in use, and status says so, and others change meanwhile. Neither hides a reload
// that failed.
func TestSystemRotatedSecret(t *testing.T) {
	w := newWorld(t)
	origin := w.origin("good.example", "198.51.100.81", w.certify("good.example", time.Now().Add(time.Hour), false))
	file := w.write("rotated", "first-value")
	s := w.standard()
	w.write("other", "first-other")
	s.prefix = "  rotated: {file: rotated}\n  other: {file: other}\n"
	s.extra = "- name: rotated\n  to: {host: good.example}\n  action: intercept\n" +
		"  upstream: {ca: partner/ca.pem}\n  inject: [{header: {name: X-Key, value: secret:rotated}}, {header: {name: X-Other, value: secret:other}}]\n"
	w.configure(s)
	w.daemon()
	key := func() string {
		w.do(w.work, "env", w.trusting(), program("client"), "get", "https://good.example/x")
		return origin.last(t).Header.Get("X-Key")
	}
	if got := key(); got != "first-value" {
		t.Fatalf("X-Key: %q", got)
	}

	w.write("outwarden.yaml", "nonsense: true\n")
	if r := w.do(w.cgroup, program("outwarden"), "reload", "--config", w.config); r.code != 1 {
		t.Errorf("reload: %v", r)
	}
	w.configure(s)
	if r := w.outwarden("reload"); r.code != 0 {
		t.Errorf("reload: %v", r)
	}
	broken := s
	broken.fail = "open"
	w.configure(broken)
	if r := w.outwarden("reload"); r.code != 1 {
		t.Errorf("reload: %v", r)
	}

	w.write("rotated.new", "second-value")
	must(t, os.Rename(w.path("rotated.new"), file))
	w.await("the new value is in use", func() bool { return key() == "second-value" })
	must(t, os.Remove(file))
	w.await("status tells of the lost secret", func() bool { return strings.Contains(w.status().Config.SecretError, "rotated") })
	if got := key(); got != "second-value" {
		t.Errorf("with the file gone X-Key is %q", got)
	}
	w.write("other", "second-other")
	w.await("another secret changes meanwhile", func() bool { return key() == "second-value" && origin.last(t).Header.Get("X-Other") == "second-other" })
	if s := w.status(); !strings.Contains(s.Config.SecretError, "rotated") {
		t.Errorf("status forgets the lost one: %+v", s.Config)
	}
	if s := w.status(); s.Config.LastError == "" {
		t.Error("the failed reload is forgotten")
	}
	w.write("rotated", "third-value")
	w.await("the third value is in use", func() bool { return key() == "third-value" })
	if s := w.status(); s.Config.SecretError != "" || s.Config.LastError == "" {
		t.Errorf("status: %+v", s.Config)
	}
}

// What the host trusts is what a route without a CA of its own trusts, also where that
// changes while the daemon runs.
func TestSystemHostRoots(t *testing.T) {
	w := newWorld(t)
	w.origin("good.example", "198.51.100.81", w.certify("good.example", time.Now().Add(time.Hour), false))
	s := w.standard()
	s.extra = "- name: public\n  to: {host: good.example, paths: [/**]}\n  action: intercept\n"
	w.configure(s)
	trusted, other := w.read("partner/ca.pem"), w.read("partner/client.pem")
	put := func(roots string) {
		must(t, os.Rename(w.write("roots.new", roots), w.path("roots.pem")))
	}
	put(other)
	w.daemonBy("env", "SSL_CERT_FILE="+w.path("roots.pem"), "SSL_CERT_DIR="+w.path("none"))
	says := func(want string) func() bool {
		return func() bool {
			r := w.do(w.work, "env", w.trusting(), program("client"), "get", "https://good.example/x")
			return strings.Contains(r.stdout+r.stderr, "upstream_untrusted") == (want == "untrusted")
		}
	}
	if !says("untrusted")() {
		t.Fatal("roots that do not hold the upstream's are as good")
	}
	put(other + trusted)
	w.await("the host trusts the upstream", says("trusted"))
	put(other)
	w.await("the host trusts it no more", says("untrusted"))
}

// A reload never changes the key of the local authority under workloads that know it,
// be its files gone or another's.
func TestSystemReloadWithoutAuthority(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	before := w.status().Authority.SHA256
	aside := w.path("state/authority.aside")
	must(t, os.Rename(w.path("state/authority"), aside))
	s := w.standard()
	s.extra = "- name: more\n  to: {host: good.example, paths: [/**]}\n  action: deny\n"
	w.configure(s)
	refused := func(why string) {
		t.Helper()
		if r := w.outwarden("reload"); r.code != 1 || !strings.Contains(r.stderr, why) || !strings.Contains(r.stderr, "hint: restore it") {
			t.Errorf("reload: %v", r)
		}
		if s := w.status(); s.Authority.SHA256 != before || s.Config.Routes != 1 {
			t.Errorf("status %+v %+v", s.Authority, s.Config)
		}
	}
	refused("is gone")
	if exists(w.path("state/authority")) {
		t.Error("another authority was made")
	}
	w.write("other.yaml", "state_dir: other\nrun_dir: other\n")
	if r := w.do(w.cgroup, program("outwarden"), "run", "--config", w.path("other.yaml"), "--", "true"); r.code != 0 {
		t.Fatal(r)
	}
	must(t, os.Rename(w.path("other/authority"), w.path("state/authority")))
	refused("has another key")
	must(t, os.RemoveAll(w.path("state/authority")))
	must(t, os.Rename(aside, w.path("state/authority")))
	if r := w.outwarden("reload"); r.code != 0 {
		t.Errorf("reload: %v", r)
	}
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("get: %v", r)
	}
}

// Who gives a secret takes his time: status answers meanwhile, and a daemon that is to
// stop does not wait for him.
func TestSystemSlowSecret(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	reload, _ := w.beginWithSlowSecret("reload")
	if s := w.status(); s.Config.Routes != 1 || s.Config.LastError != "" {
		t.Errorf("status: %+v", s.Config)
	}
	d.stop()
	if code := reload.end(); code != 1 || !strings.Contains(reload.stderr.String(), "canceled") {
		t.Errorf("reload: exit %d: %s", code, &reload.stderr)
	}
}

// beginWithSlowSecret begins a command that has a secret fetched from an agent, which
// is asked, and does not answer as long as the test lasts.
func (w *world) beginWithSlowSecret(command string) (p *process, asked *net.UnixConn) {
	w.t.Helper()
	agent, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: w.path("agent.sock")})
	must(w.t, err)
	w.t.Cleanup(func() { _ = agent.Close() })
	s := w.standard()
	s.prefix = "  slow: {spiffe: {socket: " + w.path("agent.sock") + ", type: jwt, audience: x}}\n"
	s.extra = "- name: slow\n  to: {host: good.example}\n  action: intercept\n  inject: [{bearer: secret:slow}]\n"
	w.configure(s)
	p = w.begin(w.cgroup, program("outwarden"), command, "--config", w.config)
	must(w.t, agent.SetDeadline(time.Now().Add(patience)))
	asked, err = agent.AcceptUnix()
	must(w.t, err)
	w.t.Cleanup(func() { _ = asked.Close() })
	return p, asked
}
