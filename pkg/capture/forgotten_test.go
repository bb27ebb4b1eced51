package capture

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// guestVariable says that the kernel is thrown away after the tests.
const guestVariable = "OUTWARDEN_GUEST"

// TestForgottenCgroups: whether a kernel loses the cgroups of sockets to net_cls of
// cgroup v1 is known before; where it does, that is noticed, and what then gets
// past the fence is what we say. On such a kernel it would outlast the test, so
// there the second half is for guests alone.
func TestForgottenCgroups(t *testing.T) {
	netnstest.Join(t, netnstest.Cgroup(t)) // of a process at the root nothing can be told
	if err := SocketCgroups(); err != nil {
		t.Fatalf("at first: %v", err)
	}
	forgetful := probeSocketCgroups()
	if forgetful != nil && os.Getenv(guestVariable) == "" {
		return
	}
	useNetCls(t)
	want := refused
	if forgetful != nil {
		want = ""
	}
	if err := SocketCgroups(); errors.Is(err, ErrForgotten) != (forgetful != nil) {
		t.Errorf("net_cls is used: %v; known of the kernel: %v", err, forgetful)
	}
	w := newWorld(t, rewrite)
	w.mustSend(w.cgroup, want)
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("what stands at the root: %q", got)
	}
}

// useNetCls gives a group of its own a class, as Kubernetes and Docker have done.
func useNetCls(t *testing.T) {
	t.Helper()
	mount := t.TempDir()
	if err := unix.Mount("none", mount, "cgroup", 0, "net_cls"); err != nil {
		t.Fatalf("mount net_cls: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	group := filepath.Join(mount, "outwarden-test")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, "net_cls.classid"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
}
