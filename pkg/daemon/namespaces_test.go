package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/netnstest"
	"github.com/outwarden/outwarden/pkg/process"
)

// TestAdoptOfNoUse: listeners of a namespace where something is wrong, which is that
// of a workload, are closed and let go of, and the daemon starts.
func TestAdoptOfNoUse(t *testing.T) {
	ours, other := loopbackListener(t), loopbackListener(t)
	for name, c := range map[string]struct {
		handed *net.TCPListener
		broken error
	}{
		"the backend cannot do its part": {ours, errors.New("no room for rules")},
		"on another address":             {other, nil},
	} {
		var said error
		var left []process.Netns
		n := &namespaces{
			listeners: &listeners{sets: []*set{{sockets: []*net.TCPListener{ours}}}}, hooks: &capture.Capture{},
			redirect: func(*os.File) (func(), error) { return nil, c.broken },
			letGo:    func(ns process.Netns) { left = append(left, ns) },
			log:      func(_ string, err error) { said = err },
			sets:     map[process.Netns]*set{}, known: map[process.Netns]bool{},
		}
		handed := again(t, c.handed)
		ns := process.Netns{Dev: 4, Inode: 42}
		n.adopt(map[process.Netns][]*net.TCPListener{ns: {handed}})
		if len(n.sets) > 0 || n.knows(ns) || len(left) != 1 || left[0] != ns {
			t.Errorf("%s: kept %v, let go of %v", name, n.sets, left)
		}
		if !errors.Is(said, c.broken) {
			t.Errorf("%s: said %v", name, said)
		}
		if _, err := handed.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: it is open: %v", name, err)
		}
	}
}

func loopbackListener(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := listenOn(context.Background(), addresses([]uint16{0})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// again is a duplicate of a listener.
func again(t *testing.T, l *net.TCPListener) *net.TCPListener {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return d.(*net.TCPListener)
}

// TestEachNamespace: a namespace is found by whoever stays there, however many come
// and go.
func TestEachNamespace(t *testing.T) {
	ns := netnstest.New(t)
	busy := exec.Command("sh", "-c", "while :; do /bin/true; done")
	if err := ns.Start(busy, netnstest.Cgroup(t)); err != nil {
		t.Fatal(err)
	}
	defer busy.Wait()
	defer busy.Process.Kill()
	file, err := os.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want, err := process.NetnsOf(file)
	if err != nil {
		t.Fatal(err)
	}
	const looks = 200
	found := 0
	for range looks {
		err := eachNamespace(func(f *os.File) error {
			if got, err := process.NetnsOf(f); err == nil && got == want {
				found++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if found != looks {
		t.Errorf("found %d times of %d", found, looks)
	}
}
