package capture

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestScope: the nearest ancestor that says anything decides.
func TestScope(t *testing.T) { eachBackend(t, testScope) }

func testScope(t *testing.T, by backend) {
	w := newWorld(t, by)
	b := netnstest.Subgroup(t, w.cgroup, "b") // nothing said: as its parent
	c := netnstest.Subgroup(t, b, "c")        // exempt
	d := netnstest.Subgroup(t, c, "d")        // captured again
	e := netnstest.Subgroup(t, d, "e")
	if err := errors.Join(w.capture.Exclude(c), w.capture.AddScope(d)); err != nil {
		t.Fatal(err)
	}
	for cgroup, want := range map[string]string{w.cgroup: "captured", b: "captured", c: "direct", d: "captured", e: "captured", w.outside: "direct"} {
		if got := w.answer(cgroup, server4); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", cgroup, got, want)
		}
	}
	if err := errors.Join(w.capture.RemoveScope(c), w.capture.RemoveScope(c), w.capture.RemoveScope(w.cgroup)); err != nil {
		t.Fatal(err)
	}
	for cgroup, want := range map[string]string{w.cgroup: "direct", c: "direct", e: "captured"} {
		if got := w.answer(cgroup, server4); !strings.HasPrefix(got, want) {
			t.Errorf("after removal, %s: %q, want %s", cgroup, got, want)
		}
	}
}

// TestDisguise: neither a name like ours, nor a user's id, nor a place below or a
// thread of its own takes a workload out of scope.
func TestDisguise(t *testing.T) { eachBackend(t, testDisguise) }

func testDisguise(t *testing.T, by backend) {
	w := newWorld(t, by)
	own := filepath.Base(w.ownCgroup())
	lookalike := netnstest.Subgroup(t, w.cgroup, own)
	deep := netnstest.Subgroup(t, netnstest.Subgroup(t, lookalike, "a"), "b")
	deepest := deep
	for range 40 { // as many as whoever may make cgroups likes
		deepest = netnstest.Subgroup(t, deepest, "c")
	}
	domain := netnstest.Subgroup(t, w.cgroup, "domain") // which can hold threads apart, but no other cgroup then
	threaded := netnstest.Subgroup(t, domain, "threaded")
	if err := os.WriteFile(threaded+"/cgroup.type", []byte("threaded"), 0); err != nil {
		t.Fatal(err)
	}
	connect := []step{{Do: "socket"}, {Do: "connect", Addr: server4}, {Do: "read"}}
	for name, c := range map[string]struct {
		cgroup string
		before []step
	}{
		"the name of our own cgroup": {lookalike, nil},
		"deep below":                 {deep, nil},
		"deeper than anybody looks":  {deepest, nil},
		"a threaded cgroup":          {domain, []step{{Do: "thread", Addr: threaded}}},
		"nobody":                     {w.cgroup, []step{{Do: "become"}}},
	} {
		got := w.run(c.cgroup, slices.Concat(c.before, connect)...)
		if text := got[len(got)-1].Text; text != "captured "+server4 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// ownCgroup is the directory of the test's own cgroup.
func (w *world) ownCgroup() string {
	w.t.Helper()
	dir, ok := w.capture.cgroupOf("/proc/self")
	if !ok {
		w.t.Fatal("no cgroup of our own")
	}
	return dir
}

func TestSetPorts(t *testing.T) { eachBackend(t, testSetPorts) }

func testSetPorts(t *testing.T, b backend) {
	w := newWorld(t, b)
	if err := w.capture.SetPorts([]uint16{5432}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{server4: "direct", other4: "captured"} {
		if got := w.answer(w.cgroup, addr); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", addr, got, want)
		}
	}
}

// TestSocketOlderThanScope: what counts is the cgroup of the caller at connect(),
// not the one in which the socket was made.
func TestSocketOlderThanScope(t *testing.T) { eachBackend(t, testSocketOlderThanScope) }

func testSocketOlderThanScope(t *testing.T, b backend) {
	w := newWorld(t, b)
	got := w.run(w.outside, step{Do: "socket"}, step{Do: "join", Addr: w.cgroup}, step{Do: "connect", Addr: server4}, step{Do: "read"})
	if !strings.HasPrefix(got[3].Text, "captured") {
		t.Errorf("process that has come into the scope: %v", got)
	}
	got = w.run(w.cgroup, step{Do: "socket"}, step{Do: "join", Addr: w.outside}, step{Do: "connect", Addr: server4}, step{Do: "read"})
	if !strings.HasPrefix(got[3].Text, "direct") {
		t.Errorf("process that has left the scope: %v", got)
	}
}

// TestOwnTraffic: cgroup and mark together make our own traffic; neither does alone.
func TestOwnTraffic(t *testing.T) {
	own := netnstest.Cgroup(t)
	netnstest.Join(t, own) // as the daemon does; kernels without SO_NETNS_COOKIE tell us our namespace only there
	id, err := cgroupID(own)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, rewrite, func(c *Config) { c.OwnCgroup = id })
	if err := w.capture.AddScope(own); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, cgroup string
		marked       bool
		want         string
	}{
		{"own cgroup and mark", own, true, "direct"},
		{"own cgroup alone", own, false, "captured"},
		{"mark alone", w.cgroup, true, "captured"},
	}
	for _, test := range tests {
		steps := []step{{Do: "socket"}}
		if test.marked {
			steps = append(steps, step{Do: "mark", Count: DefaultMark})
		}
		got := w.run(test.cgroup, append(steps, step{Do: "connect", Addr: server4}, step{Do: "read"})...)
		if text := got[len(got)-1].Text; !strings.HasPrefix(text, test.want) {
			t.Errorf("%s: %q, want %s", test.name, text, test.want)
		}
	}
}

// TestControl: our dialer's sockets carry the mark.
func TestControl(t *testing.T) {
	w := newWorld(t, rewrite)
	var got int
	dialer := net.Dialer{Control: func(network, address string, rc syscall.RawConn) error {
		if err := w.capture.Control(network, address, rc); err != nil {
			return err
		}
		return rc.Control(func(fd uintptr) { got, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK) })
	}}
	w.host.Do(func() {
		c, err := dialer.Dial("tcp", server4)
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	})
	if got != DefaultMark {
		t.Errorf("mark %#x, want %#x", got, DefaultMark)
	}
}

// TestAskNetnsCookie: the way of kernels without SO_NETNS_COOKIE finds what
// that option says; where there is none, one cookie for each namespace.
func TestAskNetnsCookie(t *testing.T) {
	w := newWorld(t, rewrite)
	home := w.capture.Netns()
	for _, l := range w.listeners {
		if got := w.askNetns(l); got != home {
			t.Errorf("listener %s: namespace %d, want %d", l.Addr(), got, home)
		}
		cookie, err := NetnsOf(l)
		switch {
		case errors.Is(err, unix.ENOPROTOOPT):
			netnstest.Refused(t, "SO_NETNS_COOKIE, the connect hook tells it", err)
		case err != nil || cookie != home:
			t.Errorf("listener %s: the kernel says namespace %d, %v; want %d", l.Addr(), cookie, err, home)
		}
	}
	other := w.listenElse(w.internet, w.config.Listen[0])
	if got := w.askNetns(other); got == home || got == 0 {
		t.Errorf("another namespace: %d, want neither zero nor %d", got, home)
	}
}

// askNetns asks the connect hook for the namespace of a listener.
func (w *world) askNetns(l *net.TCPListener) (cookie uint64) {
	w.t.Helper()
	rc, err := l.SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	var failed error
	if err := rc.Control(func(fd uintptr) { cookie, failed = w.capture.askNetnsCookie(int(fd), l.Addr()) }); err != nil || failed != nil {
		w.t.Fatal(err, failed)
	}
	return cookie
}

// TestTwoCaptures: several at the root cgroup at once do not meddle with one another.
func TestTwoCaptures(t *testing.T) {
	a, b := newWorld(t, rewrite), &world{}
	t.Run("second", func(t *testing.T) {
		b = newWorld(t, rewrite)
		for range 3 {
			for _, w := range []*world{a, b} {
				if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
					t.Errorf("captured: %q", got)
				}
				if got := w.answer(w.outside, server6); !strings.HasPrefix(got, "direct") {
					t.Errorf("uncaptured: %q", got)
				}
			}
		}
	})
	for _, w := range []*world{a, b} {
		if known, strange := w.accepted(); known != 3 || strange != 0 {
			t.Errorf("%d flows and %d without a record, want 3 and none", known, strange)
		}
	}
	if got := a.last(); got.Verdict != flow.VerdictRedirect {
		t.Errorf("verdict %v", got.Verdict)
	}
}

// TestCgroup2: of several mounts the one of the whole tree counts, by its name as it is.
func TestCgroup2(t *testing.T) {
	for in, want := range map[string]string{
		"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n38 31 0:35 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n": "/sys/fs/cgroup/unified",
		"8 1 0:35 /a /mnt/part rw - cgroup2 none rw\n9 1 0:35 / /mnt/all rw - cgroup2 none rw\n":                                          "/mnt/all",
		"8 1 0:35 /a /mnt/with\\040space rw - cgroup2 none rw\n":                                                                          "/mnt/with space",
	} {
		if got, err := findCgroup2(in); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if got, err := findCgroup2("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"); !errors.Is(err, ErrNoCgroup2) {
		t.Errorf("v1 only: %q, %v", got, err)
	}
}
