package daemon_test

import (
	"strings"
	"testing"
)

// A daemon that cannot start says what to do about it, and leaves no hooks.
func TestSystemStartSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	good := w.read("outwarden.yaml")
	begin := func(by ...string) []string { return append(by, program("outwarden"), "--config", w.config, "daemon") }
	unshared := func(setup string) []string {
		return begin("unshare", "--mount", "sh", "-c", setup+` && exec "$@"`, "sh")
	}
	stranger := w.begin(w.cgroup, "python3", "-c", `import socket; s = socket.create_server(("127.0.0.1", 25002)); print("listening", flush=True); input()`)
	w.await("somebody has our port", func() bool { return stranger.stdout.String() != "" })
	for _, c := range []struct {
		what, config string
		argv         []string
		says, hint   string
	}{
		{"a port that is taken", strings.Replace(good, "pin_dir:", "listen: [25002], pin_dir:", 1), begin(), "127.0.0.1:25002", "name other ports in capture.listen"},
		{"a bpffs that is read-only", good, unshared("mount -o remount,bind,ro /sys/fs/bpf"), w.pins, "outwarden doctor"},
		{"no cgroup2", good, unshared("umount -a -l -t cgroup2"), "no cgroup2 mount", "outwarden doctor"},
	} {
		w.write("outwarden.yaml", c.config)
		r := w.do(w.cgroup, c.argv...)
		_, hint, _ := strings.Cut(r.stderr, "outwarden: hint: ")
		if r.code != 1 || !strings.Contains(r.stderr, c.says) || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: %v", c.what, r)
		}
		if left := w.pinned(); len(left) > 0 {
			t.Errorf("%s: %v are left", c.what, left)
		}
	}
	stranger.end()
}
