package capture

import (
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestFeedAtHome: the routes of our own namespace are watched without entering
// any, which a service may be forbidden to; those of another one are not.
func TestFeedAtHome(t *testing.T) {
	netnstest.RequireRoot(t)
	other := netnstest.New(t)
	home, away := namespaceOf(t, mustListen(t, "127.0.0.1:0")), namespaceOf(t, listenIn(t, other, "127.0.0.1:0"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: what is given up here is not to be had back
		if err := giveUp(unix.CAP_SYS_ADMIN); err != nil {
			t.Error(err)
			return
		}
		f, err := newFeed(home, 1)
		if err != nil {
			t.Errorf("at home: %v", err)
			return
		}
		f.close()
		f.handle.Close()
		if _, err := newFeed(away, 2); err == nil {
			t.Error("elsewhere: entered a namespace without the right to; this test shows nothing")
		}
	}()
	<-done
}

func mustListen(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// namespaceOf is the network namespace that a socket is in, open until the test ends.
func namespaceOf(t *testing.T, l *net.TCPListener) netns.NsHandle {
	t.Helper()
	rc, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ns netns.NsHandle
	var failed error
	if err := rc.Control(func(fd uintptr) { ns, failed = netnsOfSocket(int(fd)) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// giveUp takes one capability from this thread.
func giveUp(capability uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	sets[capability/32].Effective &^= 1 << (capability % 32)
	return os.NewSyscallError("capset", unix.Capset(&header, &sets[0]))
}
