package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netfilter"
)

// How much is measured: rounds, and in each of them connects and packets of each arm.
const (
	costRounds   = 15
	costConnects = 2000
	costPackets  = 20000
)

// arm is one way of doing the same work.
type arm struct {
	name, cgroup, addr string
	step               string
	count              int
}

// cost measures arms in turn, round by round, and compares each with its base in the same round.
type cost struct {
	w    *world
	took map[string][]float64 // nanoseconds an operation, by arm, a value a round
}

// BenchmarkCost tells what the hooks cost a workload: one connect() over
// loopback and one datagram, without Outwarden, out of scope, in scope and
// beside nftables alone, and what a tracked connection holds. `make
// bench-capture` runs it once; the rounds are its own.
func BenchmarkCost(b *testing.B) {
	w := newWorld(b, rewrite)
	plain := listenIn(b, w.host, "127.0.0.1:0")
	w.serve(plain, func(net.Conn) {})
	loop, sink := plain.Addr().String(), w.sink()
	c := &cost{w, map[string][]float64{}}
	connect := func(name, cgroup, addr string) arm { return arm{name, cgroup, addr, "connects", costConnects} }
	packet := func(name, cgroup string) arm { return arm{name, cgroup, sink, "packets", costPackets} }
	with := []arm{
		connect("connect, out of scope", w.outside, loop), connect("connect, in scope, not captured", w.cgroup, loop),
		connect("connect, in scope, redirected", w.cgroup, server4), packet("packet, out of scope", w.outside), packet("packet, in scope", w.cgroup),
	}
	without := []arm{connect("connect, no outwarden", w.cgroup, loop), packet("packet, no outwarden", w.cgroup)}
	nft := connect("connect, nftables redirect alone", w.cgroup, server4)
	for range costRounds {
		c.measure(with...)
		w.leave()
		if _, err := Detach(w.config.PinDir); err != nil {
			b.Fatal(err)
		}
		c.measure(without...)
		c.redirected(plain, func() { c.measure(nft) })
		w.relisten()
		w.open()
		if err := w.capture.AddScope(w.cgroup); err != nil {
			b.Fatal(err)
		}
	}
	c.report(b, without[0].name, slices.Concat(without[:1], with[:3], []arm{nft}))
	c.report(b, without[1].name, slices.Concat(without[1:], with[3:]))
	b.Logf("a tracked connection holds %d bytes of socket storage, and until it is accepted %d of key and record",
		w.capture.maps.Sockets.ValueSize(), w.capture.maps.Flows.KeySize()+w.capture.maps.Flows.ValueSize())
	b.ReportMetric(0, "ns/op") // of no meaning here
}

func (c *cost) measure(arms ...arm) {
	c.w.t.Helper()
	for _, a := range arms {
		r := c.w.run(a.cgroup, step{Do: a.step, Addr: a.addr, Count: a.count})[0]
		ns, err := strconv.ParseFloat(r.Text, 64)
		if err != nil || r.Err != "" {
			c.w.t.Fatalf("%s: %+v", a.name, r)
		}
		c.took[a.name] = append(c.took[a.name], ns)
	}
}

// report prints medians, and of the ratio to the base within a round the median and the quartiles.
func (c *cost) report(b *testing.B, base string, arms []arm) {
	for _, a := range arms {
		ratios := slices.Clone(c.took[a.name])
		for i := range ratios {
			ratios[i] /= c.took[base][i]
		}
		slices.Sort(ratios)
		n, took := len(ratios), slices.Sorted(slices.Values(c.took[a.name]))
		b.Logf("%-34s %8.0f ns, median of %d; %+.1f %% (quartiles %+.1f to %+.1f)", a.name, took[n/2], n,
			100*(ratios[n/2]-1), 100*(ratios[n/4]-1), 100*(ratios[3*n/4]-1))
	}
}

// redirected calls f while nftables alone redirects marked sockets of the host to a listener.
func (c *cost) redirected(to *net.TCPListener, f func()) {
	t := c.w.t
	t.Helper()
	ns, err := os.Open(c.w.host.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	port := addrPort(to.Addr()).Port()
	table, err := netfilter.Open(netfilter.Config{Name: "outwarden-cost", Netns: ns, Local: netfilter.Local{IPv4: []uint16{port}}})
	if err != nil {
		t.Fatal(err)
	}
	f()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if _, err := netfilter.Remove(ns, "outwarden-cost"); err != nil {
		t.Error(err)
	}
}

// sink is a UDP socket on loopback that nobody reads.
func (w *world) sink() (addr string) {
	w.t.Helper()
	w.host.Do(func() {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { c.Close() })
		addr = c.LocalAddr().String()
	})
	return addr
}

// connects measures connect() alone: making the socket and closing it by reset,
// so that ports are free again, are not counted. Sockets carry the mark that
// nftables redirects; where it does not, the mark says nothing.
func (c *child) connects(s step) (string, error) {
	took := make([]time.Duration, s.Count)
	for i := range took {
		if err := c.socket(step{}); err != nil {
			return "", err
		}
		to := c.sockaddr(s.Addr)
		err := errors.Join(unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_MARK, netfilter.DefaultMark),
			unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		from := time.Now()
		if err == nil {
			err = unix.Connect(c.fd, to)
		}
		took[i] = time.Since(from)
		if err = errors.Join(err, unix.Close(c.fd)); err != nil {
			return "", err
		}
	}
	return median(took, 1), nil
}

// packets measures sendto() on an unconnected socket, some at a time.
func (c *child) packets(s step) (string, error) {
	const batch = 50
	if err := c.socket(step{Kind: "udp"}); err != nil {
		return "", err
	}
	defer unix.Close(c.fd)
	to, payload := c.sockaddr(s.Addr), []byte("x")
	took := make([]time.Duration, s.Count/batch)
	for i := range took {
		from := time.Now()
		for range batch {
			if err := unix.Sendto(c.fd, payload, 0, to); err != nil {
				return "", err
			}
		}
		took[i] = time.Since(from)
	}
	return median(took, batch), nil
}

// median of what batches took, in nanoseconds for each operation: who is
// preempted once does not count.
func median(took []time.Duration, batch float64) string {
	slices.Sort(took)
	return fmt.Sprint(float64(took[len(took)/2].Nanoseconds()) / batch)
}
