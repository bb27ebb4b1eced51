package netfilter

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// intercepted puts the interception of the guest in place, and gives what ends
// the listeners. They say from whom and where to.
func (w *world) intercepted(change func(*Guests)) (t *Table, stop func()) {
	w.t.Helper()
	say := func(c net.Conn) string { return fmt.Sprint(c.RemoteAddr().(*net.TCPAddr).IP, " to ", c.LocalAddr()) }
	g := Guests{From: []Guest{{Interface: w.inner}}, Ports: []uint16{80, 443}}
	var stop4, stop6 func()
	g.IPv4, stop4 = w.serve(w.host, "127.0.0.1:0", true, say)
	g.IPv6, stop6 = w.serve(w.host, "[::1]:0", true, say)
	change(&g)
	return w.open(Config{Guests: g}), func() { stop4(); stop6() }
}

var servers = map[string]string{server4: guest4, server6: guest6}

// TestGuests: a guest's connections come to the listener, whose accepted socket
// tells where they were to go; who is no guest, other ports and what is for the
// host itself are left alone.
func TestGuests(t *testing.T) {
	for name, from := range map[string][]Guest{
		"interface": nil,
		"source":    {{Source: prefixes(guest4 + "/24")[0]}, {Source: prefixes(guest6 + "/64")[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.intercepted(func(g *Guests) {
				if from != nil {
					g.From = from
				}
			})
			for server, guest := range servers {
				if got := w.ask(w.guest, server, 0); got != guest+" to "+server {
					t.Errorf("guest asks %s: %q", server, got)
				}
				if got := w.ask(w.host, server, 0); got != "direct" {
					t.Errorf("host asks %s: %q", server, got)
				}
			}
			if got := w.ask(w.guest, "203.0.113.10:5432", 0); got != "direct" {
				t.Errorf("another port: %q", got)
			}
			w.serve(w.host, "10.9.0.1:443", false, func(net.Conn) string { return "host" })
			if got := w.ask(w.guest, "10.9.0.1:443", 0); got != "host" {
				t.Errorf("the host's own service: %q", got)
			}
		})
	}
}

// TestOtherSource: who comes by the interface and is not one of the guests passes.
func TestOtherSource(t *testing.T) {
	w := newWorld(t)
	w.intercepted(func(g *Guests) { g.From = []Guest{{Interface: w.inner, Source: prefixes("10.8.0.128/25")[0]}} })
	for server := range servers {
		if got := w.ask(w.guest, server, 0); got != "direct" {
			t.Errorf("%s: %q", server, got)
		}
	}
}

// TestNobodyListens: guests are refused at once, or pass, as was configured.
func TestNobodyListens(t *testing.T) {
	for open, want := range map[bool]string{false: unix.ECONNREFUSED.Error(), true: "direct"} {
		w := newWorld(t)
		_, stop := w.intercepted(func(g *Guests) { g.FailOpen = open })
		stop()
		for server := range servers {
			if got := w.ask(w.guest, server, 0); got != want {
				t.Errorf("fail open %v, %s: %q, want %q", open, server, got, want)
			}
		}
	}
}

// TestNoIPv6Listener: what cannot be intercepted does not pass.
func TestNoIPv6Listener(t *testing.T) {
	w := newWorld(t)
	w.intercepted(func(g *Guests) { g.IPv6 = 0 })
	if got := w.ask(w.guest, server6, 0); got != unix.ECONNREFUSED.Error() {
		t.Errorf("%q", got)
	}
}

// TestGuestsQUIC: UDP to 443 is refused at once, unless it is allowed.
func TestGuestsQUIC(t *testing.T) {
	for _, allow := range []bool{false, true} {
		w := newWorld(t)
		w.intercepted(func(g *Guests) { g.AllowQUIC = allow })
		for server := range servers {
			got := send(t, w.guest, w.internet, server)
			if refused := errors.Is(got, unix.ECONNREFUSED); refused == allow || allow && got != nil {
				t.Errorf("allowed %v, %s: %v", allow, server, got)
			}
		}
	}
}

// send sends a datagram to an echo of the other namespace and waits for the answer.
func send(t *testing.T, from, to *netnstest.NS, addr string) error {
	t.Helper()
	var echo net.PacketConn
	var c net.Conn
	var err error
	to.Do(func() { echo, err = net.ListenPacket("udp", addr) })
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 10)
		if n, who, err := echo.ReadFrom(b); err == nil {
			_, _ = echo.WriteTo(b[:n], who)
		}
	}()
	defer func() { echo.Close(); <-done }()
	from.Do(func() { c, err = net.Dial("udp", addr) })
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	must(t, err)
	_, err = c.Read(make([]byte, 10))
	return err
}

// TestManyPorts: a table is put in place however many rules it has.
func TestManyPorts(t *testing.T) {
	w := newWorld(t)
	w.intercepted(func(g *Guests) {
		g.Ports = nil
		for port := range uint16(1000) {
			g.Ports = append(g.Ports, 80+port)
		}
	})
	for server, guest := range servers {
		if got := w.ask(w.guest, server, 0); got != guest+" to "+server {
			t.Errorf("guest asks %s: %q", server, got)
		}
	}
}

// TestFailedOpenLeavesWhatWas: it is of a process that lives, or was to keep guests
// from passing.
func TestFailedOpenLeavesWhatWas(t *testing.T) {
	w := newWorld(t)
	table, _ := w.intercepted(func(*Guests) {})
	h := w.handle()
	lo, err := h.LinkByName("lo")
	must(t, err)
	for _, step := range []error{h.LinkSetDown(lo), h.LinkSetName(lo, "away"), h.LinkSetUp(lo)} {
		must(t, step)
	}
	rules, routing := w.ruleset(), w.routing()
	w.host.Do(func() {
		if other, err := Open(table.want); err == nil {
			t.Errorf("opened %v without a loopback interface", other)
		}
	})
	if now := w.ruleset() + w.routing(); now != rules+routing {
		t.Errorf("after a failed open: %s; before: %s", now, rules+routing)
	}
}
