package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netfilter"
)

// slice is a kind of work that a workload does some milliseconds long.
type slice byte

const (
	connects slice = 'c' // nobody accepts them until the slice is over
	awaited  slice = 'a' // somebody does
	whole    slice = 'w' // the same, and all of a connection is measured
	packets  slice = 'p'
)

// worker is a workload that waits to be told.
type worker struct {
	end *farEnd
	in  *os.File
	out *bufio.Reader
}

// work starts a workload in a cgroup that will connect to addr.
func (e *farEnd) work(cgroup, addr string) *worker {
	t := e.w.t
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd, out, err := e.w.start(cgroup, exe, in, []step{{Do: "slices", Addr: addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tell.Close()
		if t.Failed() {
			cmd.Process.Kill() // it may wait for what nobody will send
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &worker{e, tell, out}
}

// slice has the workload do its operations and gives the first quartile of what
// one took, in nanoseconds.
func (w *worker) slice(do slice) float64 {
	t := w.end.w.t
	t.Helper()
	if _, err := w.in.Write([]byte{byte(do)}); err != nil {
		t.Fatal(err)
	}
	if do == awaited || do == whole {
		w.end.accept(costConnects)
	}
	line, err := w.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		t.Fatalf("%c: %q", do, line)
	}
	w.end.accept(-1)
	return ns
}

// slices does what it is told by its input until that ends, on the last processor.
func (c *child) slices(s step) error {
	debug.SetGCPercent(-1)
	if err := pinThread(runtime.NumCPU() - 1); err != nil {
		return err
	}
	to := netip.MustParseAddrPort(s.Addr)
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	for do := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(do); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		ns, err := c.slice(slice(do[0]), sa)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, ns)
	}
}

// pinThread keeps the calling thread on one processor.
func pinThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

func (c *child) slice(do slice, to *unix.SockaddrInet4) (float64, error) {
	switch do {
	case connects, awaited, whole:
		return timed(costConnects, 1, func() (time.Duration, error) { return connectOnce(to, do) })
	case packets:
		return c.packets(to)
	}
	return 0, fmt.Errorf("no slice %q", do)
}

// connectOnce measures connect() alone, and closes by reset so that the port is
// free again; or the whole of a connection, which the other end closes first.
// The mark is what nftables redirects; where it does not, it says nothing.
func connectOnce(to *unix.SockaddrInet4, do slice) (time.Duration, error) {
	begun := time.Now()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return 0, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, netfilter.DefaultMark),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	from := time.Now()
	err = unix.Connect(fd, to)
	took := time.Since(from)
	if err == nil && do != connects {
		_, err = unix.Read(fd, make([]byte, 1))
	}
	err = errors.Join(err, unix.Close(fd))
	if do == whole {
		took = time.Since(begun)
	}
	return took, err
}

// packets measures sendto() on an unconnected socket, some at a time.
func (c *child) packets(to *unix.SockaddrInet4) (float64, error) {
	const batch = 20
	if err := c.socket(step{Kind: "udp"}); err != nil {
		return 0, err
	}
	defer unix.Close(c.fd)
	to, payload := &unix.SockaddrInet4{Port: sinkPort, Addr: to.Addr}, []byte("x")
	return timed(costPackets/batch, batch, func() (time.Duration, error) {
		from := time.Now()
		for range batch {
			if err := unix.Sendto(c.fd, payload, 0, to); err != nil {
				return 0, err
			}
		}
		return time.Since(from), nil
	})
}

// timed does something n times and gives the first quartile of what it took, in
// nanoseconds for each of a batch: who is preempted does not count.
func timed(n int, batch float64, do func() (time.Duration, error)) (float64, error) {
	took := make([]float64, n)
	for i := range took {
		d, err := do()
		if err != nil {
			return 0, err
		}
		took[i] = float64(d.Nanoseconds()) / batch
	}
	return quantile(took, 1), nil
}
