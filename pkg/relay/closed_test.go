package relay_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBrokenUnread: a workload that is reset ends the connection also where its server
// reads nothing of what it has said; and one that reads on gets what is there.
func TestBrokenUnread(t *testing.T) {
	for name, reads := range map[string]bool{"nobody reads": false, "late": true} {
		t.Run(name, func(t *testing.T) {
			p, _ := newWorld(t).lasting("")
			p.fill(t)
			must(t, p.workload.SetLinger(0))
			must(t, p.workload.Close())
			if reads {
				time.Sleep(time.Second)
				n, err := io.Copy(io.Discard, p.server)
				if n < 64<<10 || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			select {
			case r := <-p.result:
				if !errors.Is(r.Err, syscall.ECONNRESET) {
					t.Errorf("%+v", r)
				}
			case <-time.After(2 * patience):
				t.Fatal("not over")
			}
		})
	}
}

// TestClosedUnseen: a workload that has closed altogether, and not just its side, is
// missed although its server says nothing and never ends.
func TestClosedUnseen(t *testing.T) {
	for name, wait := range map[string]time.Duration{"soon": 0, "when it has lasted": 1500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p, _ := newWorld(t).lasting("x")
			_, err := io.ReadFull(p.server, make([]byte, 1))
			must(t, err)
			time.Sleep(wait)
			must(t, forgetSoon(p.workload))
			must(t, p.workload.Close())
			p.want(t, 1, 0)
		})
	}
}

// TestClosedUnread: the same for one that has said more than its server reads.
func TestClosedUnread(t *testing.T) {
	p, _ := newWorld(t).lasting("")
	p.fill(t)
	must(t, forgetSoon(p.workload))
	must(t, p.workload.Close())
	select {
	case <-p.result:
	case <-time.After(4 * patience):
		t.Fatal("not over")
	}
}

// fill has the workload say more than anybody takes.
func (p *pair) fill(t *testing.T) {
	t.Helper()
	must(t, p.workload.SetWriteDeadline(time.Now().Add(time.Second)))
	var err error
	for err == nil {
		_, err = p.workload.Write(noise(1 << 20))
	}
}

// forgetSoon has the kernel remember the connection for a second and not for minutes when it
// is closed.
func forgetSoon(c *net.TCPConn) (err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_LINGER2, 1),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000))
	})
	return errors.Join(err, failed)
}
