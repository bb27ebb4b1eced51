package daemon_test

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/control"
)

// Whoever was to read the daemon's log stops doing so: it goes on with all that it does,
// and ends when it is told to.
func TestSystemUnreadLog(t *testing.T) {
	w := newWorld(t)
	r, log, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = unix.FcntlInt(log.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	must(t, err)
	p := w.beginWith([]*os.File{log}, w.cgroup, "sh", "-c", `exec "$@" 2>&3 3>&-`, "sh", program("outwarden"), "daemon", "--config", w.config)
	must(t, log.Close())
	w.await("the daemon is up", func() bool { return ended(p) || exists(w.path("run/handover.sock")) })
	sound := w.read("outwarden.yaml")
	w.write("outwarden.yaml", "nonsense: true\n")
	client := control.NewClient(w.path("run/control.sock"))
	for range 50 { // each is logged
		ctx, stop := context.WithTimeout(t.Context(), patience)
		if _, err := client.Reload(ctx); err == nil || ctx.Err() != nil {
			t.Fatalf("reload: %v", err)
		}
		stop()
	}
	w.write("outwarden.yaml", sound)
	if s := w.status(); s.Config.LastError == "" {
		t.Errorf("status: %+v", s.Config)
	}
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("get: %v", r)
	}
	began := time.Now()
	p.stop()
	t.Logf("stopped in %v", time.Since(began))
}
