package handover

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/process"
)

// What comes under a name is taken only if it is what the name says: a listener on
// loopback, in the network namespace that is named, transparent where guests are to
// arrive. The rest is closed.
func TestInheritedIsWhatItIsNamed(t *testing.T) {
	home, err := process.OwnNetns()
	must(t, err)
	elsewhere := process.Netns{Dev: home.Dev, Inode: home.Inode + 1}
	for name, c := range map[string]struct {
		kind  Kind
		addr  string
		taken bool
	}{
		"listener":                          {KindListener, "127.0.0.1:0", true},
		"listener of our namespace by name": {ListenerIn(home), "127.0.0.1:0", true},
		"named after another namespace":     {ListenerIn(elsewhere), "127.0.0.1:0", false},
		"for everybody to reach":            {KindListener, "0.0.0.0:0", false},
		"guest, but not transparent":        {KindGuest, "127.0.0.1:0", false},
		"of another version":                {"listener2", "127.0.0.1:0", false},
	} {
		t.Run(name, func(t *testing.T) {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false)
			l, err := lc.Listen(t.Context(), "tcp4", c.addr)
			must(t, err)
			defer l.Close()
			f, err := l.(*net.TCPListener).File()
			must(t, err)
			i := &Inherited{}
			defer i.Close()
			must(t, i.add([]Kind{c.kind}, []*os.File{f}))
			if got := len(i.Ports()) == 1; got != c.taken || len(i.guests) > 0 {
				t.Errorf("taken %v, want %v; guests %v", got, c.taken, i.guests)
			}
			if err := f.Close(); err == nil {
				t.Error("what came is still open beside what was made of it")
			}
		})
	}
}

// A service manager is told what to let go of as sd_notify(3) says.
func TestUnstore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	must(t, err)
	defer manager.Close()
	must(t, Unstore(path, ListenerIn(process.Netns{Dev: 4, Inode: 0xabc})))
	said := make([]byte, 256)
	n, err := manager.Read(said)
	must(t, err)
	if got, want := string(said[:n]), "FDSTOREREMOVE=1\nFDNAME=listener-4-abc"; got != want {
		t.Errorf("it hears %q, want %q", got, want)
	}
}
