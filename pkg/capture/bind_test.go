package capture

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBindGuard: nobody but us binds to a port of ours, whether we live or not.
func TestBindGuard(t *testing.T) {
	w := newWorld(t, rewrite)
	port := w.config.Listen[0].Port()
	free := port - 1
	if w.isOurs(free) {
		free--
	}
	w.refusesBinds(port)
	w.leave()
	w.refusesBinds(port)
	for _, c := range []struct{ kind, addr string }{
		{"", fmt.Sprintf("127.0.0.1:%d", free)}, {"", "127.0.0.1:0"}, {"", fmt.Sprintf("10.9.0.1:%d", port)},
		{"udp", fmt.Sprintf("127.0.0.1:%d", port)},
	} {
		if got := w.bind(w.cgroup, c.kind, c.addr); got != "" {
			t.Errorf("bind %s %s: %s", c.kind, c.addr, got)
		}
	}
	w.ourOwnBinds(w.config.Listen[0])
	w.open()
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("taken over: %q", got)
	}
}

func (w *world) isOurs(port uint16) bool {
	for _, l := range w.config.Listen {
		if l.Port() == port {
			return true
		}
	}
	return false
}

// bind has a workload bind a socket, and gives the error.
func (w *world) bind(cgroup, kind, addr string) string {
	w.t.Helper()
	got := w.run(cgroup, step{Do: "socket", Kind: kind, IPv6: strings.HasPrefix(addr, "[")}, step{Do: "bind", Addr: addr})
	return got[1].Err
}

func (w *world) refusesBinds(port uint16) {
	w.t.Helper()
	var steps []step
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"} {
		steps = append(steps, step{Do: "socket", IPv6: strings.HasPrefix(host, "[")}, step{Do: "bind", Addr: fmt.Sprintf("%s:%d", host, port)})
	}
	for _, cgroup := range []string{w.cgroup, w.outside} {
		for i, got := range w.run(cgroup, steps...) {
			if got.Do == "bind" && got.Err != unix.EPERM.Error() {
				w.t.Errorf("bind %s: %+v, want it refused", steps[i].Addr, got)
			}
		}
	}
}

// ourOwnBinds: the mark and the cgroup together open the port, and neither alone.
func (w *world) ourOwnBinds(at netip.AddrPort) {
	w.t.Helper()
	listen := func(config net.ListenConfig) error {
		config.SetMultipathTCP(false)
		var err error
		w.host.Do(func() {
			var l net.Listener
			if l, err = config.Listen(context.Background(), "tcp", at.String()); err == nil {
				w.listeners = []*net.TCPListener{l.(*net.TCPListener)}
			}
		})
		return err
	}
	if err := listen(net.ListenConfig{}); err == nil || !strings.Contains(err.Error(), unix.EPERM.Error()) {
		w.t.Errorf("our cgroup without the mark: %v", err)
	}
	if got := w.run(w.outside, step{Do: "socket"}, step{Do: "mark", Count: DefaultMark}, step{Do: "bind", Addr: at.String()}); got[2].Err != unix.EPERM.Error() {
		w.t.Errorf("the mark in another cgroup: %v", got)
	}
	if err := listen(net.ListenConfig{Control: w.capture.Control}); err != nil {
		w.t.Fatalf("our own: %v", err)
	}
	w.serve(w.listeners[0], func(c net.Conn) { w.accept(c.(*net.TCPConn)) })
}
