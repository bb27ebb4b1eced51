package daemon_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
)

// perl stands for a program that makes what sockets it likes.
func perl(script string) []string { return []string{"perl", "-MSocket", "-e", script} }

// Whatever would slip past is a record with its reason, and a counter.
func TestSystemNothingSlips(t *testing.T) {
	w := newWorld(t)
	s := w.standard()
	s.hooks = ", existing: reset"
	w.configure(s)
	older := w.begin(w.work, "bash", "-c", "exec 3<>/dev/tcp/198.51.100.80/443; echo connected; read; echo more >&3 && echo wrote")
	w.await("a connection before the daemon", func() bool { return strings.Contains(older.stdout.String(), "connected") })
	w.daemon()
	w.recorded("a connection that existed before", "existed_before", "deny", older.Process.Pid)
	older.say("go on")
	if older.end() == 0 || strings.Contains(older.stdout.String(), "wrote") {
		t.Errorf("the older connection goes on: %s%s", &older.stdout, &older.stderr)
	}
	listener := netip.MustParseAddrPort(w.status().Capture.Listeners[0])
	for _, c := range []struct {
		what, reason, decision, says string
		argv                         []string
	}{
		{"QUIC", "quic_refused", "deny", "Operation not permitted",
			[]string{"bash", "-c", "exec 3<>/dev/udp/198.51.100.80/443; echo x >&3"}},
		{"a raw socket", "raw_socket", "deny", "Operation not permitted",
			perl(`socket(S, PF_INET, SOCK_RAW, 253) or die $!; send(S, "x", 0, pack_sockaddr_in(0, inet_aton("198.51.100.80"))) or die $!`)},
		{"a socket bound to a device without the right to leave it", "bound_device", "deny", "Operation not permitted",
			perl(`socket(S, PF_INET, SOCK_STREAM, 6) or die $!; setsockopt(S, 1, 25, "` + w.hostLink() + `") or die $!; $> = $< = 65534; connect(S, pack_sockaddr_in(443, inet_aton("198.51.100.80"))) or die $!`)},
		{"a direct dial of a listener", "connects_to_us", "deny", "Operation not permitted",
			perl(`socket(S, PF_INET, SOCK_STREAM, 6) or die $!; connect(S, pack_sockaddr_in(` + strings.Split(listener.String(), ":")[1] + `, inet_aton("127.0.0.1"))) or die $!`)},
	} {
		p := w.begin(w.work, c.argv...)
		if code := p.end(); code == 0 || !strings.Contains(p.stderr.String(), c.says) {
			t.Errorf("%s: exit %d, %s; want %q", c.what, code, &p.stderr, c.says)
		}
		w.recorded(c.what, c.reason, c.decision, p.Process.Pid)
		if w.status().Kernel[c.reason] == 0 {
			t.Errorf("%s: no counter in %v", c.what, w.status().Kernel)
		}
	}
	if k := w.status().Kernel; k["existed_before"] != 1 || k["existed_before_reset"] != 1 {
		t.Errorf("counters of existing connections: %v", k)
	}
}

// recorded waits for the record of a kernel's verdict about a process.
func (w *world) recorded(what, reason, decision string, pid int) {
	w.t.Helper()
	w.find(what, func(r *audit.Record) bool {
		return r.Reason == reason && r.Decision == decision && r.Process != nil && int(r.Process.PID) == pid
	})
}

// hostLink is the host's end of the veth pair.
func (w *world) hostLink() (name string) {
	w.t.Helper()
	w.host.Do(func() {
		entries, err := os.ReadDir("/proc/thread-self/net/dev_snmp6")
		must(w.t, err)
		for _, e := range entries {
			if e.Name() != "lo" {
				name = e.Name()
			}
		}
	})
	return name
}
