package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A workload is this test binary, run again with its steps in the environment.
// It is as unmodified as a program can be: plain system calls.
const childVariable = "OUTWARDEN_TEST_CHILD"

func TestMain(m *testing.M) {
	if steps := os.Getenv(childVariable); steps != "" {
		runChild(steps)
		return
	}
	os.Exit(m.Run())
}

// step is one thing for a workload to do, with its one socket.
type step struct {
	Do    string // a case of child.do
	Addr  string `json:",omitempty"`
	Kind  string `json:",omitempty"` // of the socket; TCP if empty
	IPv6  bool   `json:",omitempty"`
	Count int    `json:",omitempty"`
}

// result is what came of a step.
type result struct {
	Do    string
	Err   string `json:",omitempty"`
	Peer  string `json:",omitempty"`
	Local string `json:",omitempty"`
	Text  string `json:",omitempty"`
}

func runChild(program string) {
	var steps []step
	if err := json.Unmarshal([]byte(program), &steps); err != nil {
		panic(err)
	}
	c := child{fd: inheritedSocket()}
	c.play(steps, json.NewEncoder(os.Stdout))
}

func (c *child) play(steps []step, out *json.Encoder) {
	runtime.LockOSThread() // capabilities belong to a thread
	for i, s := range steps {
		c.rest = steps[i+1:]
		r := result{Do: s.Do}
		if s.Do == "headless" || s.Do == "apart" {
			out.Encode(r)
			c.moveOn(s.Do == "headless", out)
		}
		if err := c.do(s, &r); err != nil {
			r.Err = err.Error()
		}
		out.Encode(r)
	}
}

func init() {
	if os.Getenv(childVariable) != "" {
		runtime.LockOSThread() // to the first thread
	}
}

// moveOn leaves the steps to come to another thread, and does not return: the first
// one ends, or stays with files of its own.
func (c *child) moveOn(headless bool, out *json.Encoder) {
	go func() {
		runtime.LockOSThread()
		if !headless {
			unix.Unshare(unix.CLONE_FILES)
		}
		for b := ""; headless && !strings.Contains(b, ") Z "); {
			runtime.Gosched()
			text, _ := os.ReadFile("/proc/self/stat")
			b = string(text)
		}
		c.play(c.rest, out)
		os.Exit(0)
	}()
	if headless {
		unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
	select {}
}

type child struct {
	fd   int
	rest []step // those to come
	born int    // the child of spawn and split
}

func (c *child) do(s step, r *result) (err error) {
	switch s.Do {
	case "socket":
		return c.socket(s)
	case "bind":
		return unix.Bind(c.fd, c.sockaddr(s.Addr))
	case "listen":
		return unix.Listen(c.fd, 1)
	case "connect":
		return retry(func() error { return unix.Connect(c.fd, c.sockaddr(s.Addr)) })
	case "nonblock":
		return unix.SetNonblock(c.fd, true)
	case "block":
		return unix.SetNonblock(c.fd, false)
	case "wait":
		return c.wait()
	case "names":
		return c.names(r)
	case "read":
		r.Text, err = c.readLine()
		return err
	case "write":
		_, err = unix.Write(c.fd, []byte(s.Addr))
		return err
	case "disconnect":
		return c.disconnect()
	case "device":
		return unix.BindToDevice(c.fd, s.Addr)
	case "drop": // all capabilities, of the calling thread alone
		return dropCapabilities()
	case "unraw": // what is executed next may send no frames
		return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW, 0, 0, 0)
	case "reuse":
		return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	case "thread": // moves the calling thread alone
		return os.WriteFile(s.Addr+"/cgroup.threads", []byte("0"), 0o644)
	case "join":
		return os.WriteFile(s.Addr+"/cgroup.procs", []byte("0"), 0o644)
	case "exec": // becomes another program, with the socket and the steps to come
		return unix.Exec(s.Addr, []string{s.Addr}, c.inherit())
	case "fork": // leaves all that to a child
		cmd := exec.Command(s.Addr)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.inherit(), os.Stdin, os.Stdout, os.Stderr
		cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(c.fd), "socket")}
		if err := cmd.Start(); err != nil {
			return err
		}
		os.Exit(0)
	case "spawn": // has a child that waits for its end, in a cgroup from birth on; it holds the socket, or by Count nothing
		r.Text, err = c.spawn(s)
		return err
	case "split": // the same without executing anything: it holds all that we do
		r.Text, err = c.split(s.Addr)
		return err
	case "idle": // until somebody ends us
		select {}
	case "reap":
		return c.reap()
	case "receive": // a socket that another process made
		c.fd, err = receive()
		return err
	case "uring":
		return c.uringConnect(s)
	case "fast": // TCP fast open by sendto
		return unix.Sendto(c.fd, []byte("x"), unix.MSG_FASTOPEN, c.sockaddr(s.Addr))
	case "faster": // and by connect, which then waits for the first write
		return unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	case "fastest": // and then sends the SYN with that, as it needs no cookie
		return unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE, 1)
	case "burden": // has the socket have as much beside it as it may
		return c.burden()
	case "detour":
		return c.detour(s.Addr)
	case "become": // nobody, with these capabilities alone
		return become(s.Count)
	case "mark?":
		mark, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_MARK)
		r.Text = strconv.Itoa(mark)
		return err
	case "mark":
		return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_MARK, s.Count)
	case "linger": // close resets
		return unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case "pause": // until the test says go on
		_, err = os.Stdin.Read(make([]byte, 1))
		return err
	case "sendto":
		return unix.Sendto(c.fd, c.payload(s), 0, c.sockaddr(s.Addr))
	case "flood": // all but the first error is forgotten
		for range s.Count {
			if failed := unix.Sendto(c.fd, []byte("x"), 0, c.sockaddr(s.Addr)); err == nil {
				err = failed
			}
		}
		return err
	case "frame":
		return frame(s)
	case "close":
		return unix.Close(c.fd)
	case "many":
		return many(s)
	case "sequence":
		return sequence(s)
	case "crowd": // holds so many sockets that it has connected
		return c.crowd(s, r)
	case "refused": // so often
		return c.refused(s)
	case "slices":
		return c.slices(s)
	case "brood":
		return brood(s, c)
	case "nobody":
		return errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobodyID), syscall.Setuid(nobodyID))
	case "meddle":
		return meddle(s.Addr)
	case "self":
		r.Text, err = self()
		return err
	}
	return fmt.Errorf("no step %q", s.Do)
}

func (c *child) socket(s step) (err error) {
	family := unix.AF_INET
	if s.IPv6 {
		family = unix.AF_INET6
	}
	k, ok := socketKinds[s.Kind]
	if !ok {
		return fmt.Errorf("no kind of socket %q", s.Kind)
	}
	if s.Kind == "ping" && s.IPv6 {
		k.protocol = unix.IPPROTO_ICMPV6
	}
	c.fd, err = unix.Socket(family, k.kind|unix.SOCK_CLOEXEC, k.protocol)
	return err
}

// socketKinds are what steps call by these names.
var socketKinds = map[string]struct{ kind, protocol int }{
	"":        {unix.SOCK_STREAM, unix.IPPROTO_TCP},
	"mptcp":   {unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
	"udp":     {unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	"udplite": {unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE},
	"ping":    {unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
	"raw":     {unix.SOCK_RAW, experimental},
	"header":  {unix.SOCK_RAW, unix.IPPROTO_RAW}, // the owner writes the IP header
}

// experimental is a protocol number that means nothing (RFC 3692).
const experimental = 253

// sockaddr gives an address in the family that the socket has.
func (c *child) sockaddr(s string) unix.Sockaddr {
	a := netip.MustParseAddrPort(s)
	if domain, _ := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_DOMAIN); domain == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func (c *child) names(r *result) error {
	peer, err := unix.Getpeername(c.fd)
	if err != nil {
		return err
	}
	local, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	r.Peer, r.Local = show(peer), show(local)
	return nil
}

func show(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return fmt.Sprintf("%T", sa)
}

// wait waits for a non-blocking connect and gives its outcome.
func (c *child) wait() error {
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	if err := retry(func() error { _, err := unix.Poll(fds, 5000); return err }); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		return unix.Errno(code)
	}
	return err
}

func (c *child) readLine() (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := unix.Read(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || b[0] == '\n' {
			return string(line), err
		}
		line = append(line, b[0])
	}
}

// disconnect is connect(AF_UNSPEC), after which the socket can connect anew.
func (c *child) disconnect() error {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	return connectRaw(c.fd, &unspec)
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// self is who we are, as a workload would tell: pid, device and inode of the executable.
func self() (string, error) {
	var s unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &s); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d %d", os.Getpid(), s.Dev, s.Ino), nil
}

// many makes connections all at once, says on each who we are, and waits for
// the other side to close it.
func many(s step) error {
	who, err := self()
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	failed := make(chan error, s.Count)
	for range s.Count {
		work.Go(func() { failed <- one(s.Addr, who) })
	}
	work.Wait()
	close(failed)
	var all []error
	for err := range failed {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func one(addr, who string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(c, who); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && !strings.HasPrefix(string(answer), "captured") {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}
