package daemon_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// finding is one element of what `doctor -o json` prints.
type finding struct {
	Check, What, Do string
	OK              bool
}

// doctor runs it, by another program where one is named, and gives what is not well, by check.
func (w *world) doctor(by ...string) map[string][]finding {
	w.t.Helper()
	r := w.do(w.cgroup, append(by, program("outwarden"), "--config", w.config, "doctor", "-o", "json")...)
	var all []finding
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		w.t.Fatalf("doctor: %v: %v", r, err)
	}
	ill := map[string][]finding{}
	for _, f := range all {
		if f.OK {
			continue
		}
		ill[f.Check] = append(ill[f.Check], f)
		if f.Do == "" {
			w.t.Errorf("nothing is said to do about %+v", f)
		}
	}
	if want := min(len(ill), 1); r.code != want || r.stderr != "" {
		w.t.Errorf("doctor with %d findings: %v", len(ill), r)
	}
	return ill
}

// The doctor finds a served host well, and on one that is not it names what is
// wrong: a dead daemon, a stranger on our port, a link that somebody detached, a
// workload that may send raw packets, a rule that uses our mark.
func TestSystemDoctor(t *testing.T) {
	requireBinaries(t)
	w := newWorld(t)
	w.write("outwarden.yaml", strings.Replace(w.read("outwarden.yaml"), "pin_dir:", "listen: [25001], pin_dir:", 1))
	if ill := w.doctor(); len(ill) != 0 {
		t.Errorf("before the first start: %+v", ill)
	}
	if ill := w.doctor("unshare", "--pid", "--fork"); len(ill) != 1 || len(ill["processes"]) != 1 || !strings.Contains(ill["processes"][0].What, "not the first PID namespace") {
		t.Errorf("in another PID namespace: %+v", ill)
	}
	readOnly := []string{"unshare", "--mount", "sh", "-c", `mount -o remount,bind,ro /sys/fs/bpf && exec "$@"`, "sh"}
	if ill := w.doctor(readOnly...); len(ill["bpffs"]) != 1 || !strings.Contains(ill["bpffs"][0].What, "read-only") {
		t.Errorf("where nothing can be pinned: %+v", ill)
	}
	good := w.read("outwarden.yaml")
	w.write("outwarden.yaml", strings.ReplaceAll(good, w.pins, w.path("pins")))
	if ill := w.doctor(); len(ill["bpffs"]) != 1 || !strings.Contains(ill["bpffs"][0].What, "on no BPF file system") {
		t.Errorf("with pins on another file system: %+v", ill)
	}
	w.write("outwarden.yaml", good)
	d := w.daemon()
	if ill := w.doctor(); len(ill) != 0 {
		t.Errorf("a served host: %+v", ill)
	}
	d.kill()
	expect := func(check, what string) {
		t.Helper()
		ill := w.doctor()
		if !slices.ContainsFunc(ill[check], func(f finding) bool { return strings.Contains(f.What, what) }) {
			t.Errorf("%s: %+v, want %q", check, ill, what)
		}
	}
	expect("daemon", "no daemon answers, so connects in scope fail")

	severed(t, filepath.Join(w.pins, "link_bind4")) // else nobody else binds to our ports
	expect("hooks", "bind4 is not in force")
	var stranger net.Listener
	w.host.Do(func() {
		var err error
		stranger, err = net.Listen("tcp4", "127.0.0.1:25001")
		must(t, err)
	})
	self, err := os.Executable()
	must(t, err)
	expect("listeners", "127.0.0.1:25001 is held by "+self)
	must(t, stranger.Close())
	w.host.Do(func() {
		stranger, err = net.Listen("tcp4", "0.0.0.0:25001") // as most do
		must(t, err)
	})
	defer stranger.Close()
	expect("listeners", "0.0.0.0:25001 is held by "+self)

	severed(t, filepath.Join(w.pins, "link_connect4"))
	expect("hooks", "connect4 is not in force")

	w.begin(w.work, "sleep", "1000")
	expect("workloads", "1 in scope hold CAP_NET_RAW")

	w.do(w.cgroup, "ip", "rule", "add", "fwmark", "0x10/0x10", "lookup", "99")
	expect("marks", "to routing table 99 matches mark 0x10/0x10")

	if r := w.outwarden("doctor"); r.code != 1 || !strings.Contains(r.stdout, "do: ") || strings.Contains(r.stdout, "\x1b") {
		t.Errorf("doctor as text: %v", r)
	}
}

// The daemon that a run starts has hooks of its own, and is as well as any other; and
// as ill, when it dies before the run ends.
func TestSystemDoctorOfARun(t *testing.T) {
	w := newWorld(t)
	p := w.beginRun(program("client"), "steps")
	w.serving(p)
	w.do(w.cgroup, "ip", "rule", "add", "fwmark", "0x80/0x80", "lookup", "99") // a bit that backend rewrite leaves alone
	ill := w.doctor()
	delete(ill, "workloads") // the command is root's
	if len(ill) != 0 {
		t.Errorf("while it runs: %+v", ill)
	}
	killPID(t, w.status().PID)
	if ill := w.doctor(); len(ill["daemon"]) != 1 || !strings.Contains(ill["daemon"][0].What, w.pins+"-run-") {
		t.Errorf("after the death of its daemon: %+v", ill)
	}
	p.end()
}

// severed detaches a pinned link behind our back.
func severed(t testing.TB, pin string) {
	t.Helper()
	const linkDetach = 34
	path, err := unix.BytePtrFromString(pin)
	must(t, err)
	get := struct {
		path      *byte
		fd, flags uint32
	}{path: path}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfObjGet, uintptr(unsafe.Pointer(&get)), unsafe.Sizeof(get))
	if errno != 0 {
		t.Fatalf("open pin %s: %v", pin, errno)
	}
	defer unix.Close(int(fd))
	detach := struct{ fd, flags uint32 }{fd: uint32(fd)}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, linkDetach, uintptr(unsafe.Pointer(&detach)), unsafe.Sizeof(detach)); errno != 0 {
		t.Fatalf("detach link %s: %v", pin, errno)
	}
}
