package daemon

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// While Run waits for others the service manager hears of us, and no longer than
// that may take.
func TestAliveFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv(managerSocket, path)
	t.Setenv("WATCHDOG_USEC", "20000")
	d := &Daemon{}
	hear := func() string {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		var b [64]byte
		n, err := manager.Read(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	const over = "STATUS=over"

	stop := d.aliveFor(time.Hour)
	for range 3 {
		if got := hear(); got != sd.SdNotifyWatchdog {
			t.Errorf("the manager hears %q", got)
		}
	}
	stop()
	d.notify(over)
	for hear() != over { // what was said before
	}

	stop = d.aliveFor(0) // hangs, as far as anybody knows
	stop()
	d.notify(over)
	if first, second := hear(), hear(); first != sd.SdNotifyWatchdog || second != over {
		t.Errorf("the manager hears %q and %q", first, second)
	}
}
