package daemon_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

const nobody = 65534

func TestSystemRunExitCodes(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	plain := w.write("plain-file", "no program")
	for _, c := range []struct {
		argv []string
		code int
	}{
		{[]string{"true"}, 0},
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{plain}, 126},
		{[]string{"no-such-command-anywhere"}, 127},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
	} {
		if r := w.run(c.argv...); r.code != c.code {
			t.Errorf("%v: want exit %d: %v", c.argv, c.code, r)
		}
	}
	if r := w.outwarden("run", "--user", "nobody-of-that-name", "--", "true"); r.code != 1 || !strings.Contains(r.stderr, "no user") {
		t.Errorf("unknown user: %v", r)
	}
	if r := w.run("sh", "-c", "cat; pwd; echo to stderr >&2"); r.stdout != w.dir+"\n" || r.stderr != "to stderr\n" {
		t.Errorf("standard streams and directory: %v", r)
	}
}

// The command has what descriptors it would have without us.
func TestSystemRunDescriptors(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	var files []*os.File
	for _, text := range []string{"three", "four"} {
		f, err := os.Open(w.write(text, text))
		must(t, err)
		defer f.Close()
		files = append(files, f)
	}
	script := []string{"sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd"}
	direct := w.beginWith(files, w.cgroup, script...)
	direct.end()
	want := direct.stdout.String()
	for _, f := range files {
		_, err := f.Seek(0, 0)
		must(t, err)
	}
	p := w.beginWith(files, w.cgroup, append([]string{program("outwarden"), "--config", w.config, "run", "--"}, script...)...)
	if code := p.end(); code != 0 || p.stdout.String() != want || !strings.HasPrefix(want, "threefour") {
		t.Errorf("exit %d: %q, want %q: %s", code, &p.stdout, want, &p.stderr)
	}
}

// What is sent to a run alone is the command's, and what a terminal sends to both it
// gets once.
func TestSystemRunSignals(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	command := []string{program("outwarden"), "--config", w.config, "run", "--", "sh", "-c",
		"for s in INT QUIT TERM HUP USR1 USR2; do trap \"echo got $s\" $s; done; while [ ! -e stop ]; do echo tick; sleep 0.1; done"}
	ticks := func(p *process, more int) {
		t.Helper()
		count := func() int { return strings.Count(p.stdout.String(), "tick") }
		n := count() + more
		w.await("it goes on", func() bool { return count() >= n })
	}
	p := w.begin(w.cgroup, append([]string{"setsid"}, command...)...)
	ticks(p, 1)
	for name, s := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	} {
		must(t, p.Process.Signal(s))
		ticks(p, 4)
		if n := strings.Count(p.stdout.String(), "got "+name); n != 1 {
			t.Errorf("%s came %d times", name, n)
		}
	}
	stop := w.write("stop", "")
	p.end()
	must(t, os.Remove(stop))

	master, slave := terminal(t)
	p = w.begin(w.cgroup, append([]string{"sh", "-c", "exec setsid --ctty \"$@\" <" + slave, "sh"}, command...)...)
	ticks(p, 1)
	_, err := master.Write([]byte{3}) // Ctrl-C
	must(t, err)
	ticks(p, 4)
	if n := strings.Count(p.stdout.String(), "got INT"); n != 1 {
		t.Errorf("from a terminal it came %d times: %q", n, &p.stdout)
	}
	w.write("stop", "")
	p.end()
}

// TestSystemRunIgnores: a command under nohup, or in the background of a script, goes on
// ignoring what it was to ignore.
func TestSystemRunIgnores(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	script := []string{"sh", "-c", `trap "" HUP INT; exec "$@"`, "sh"}
	ask := []string{"grep", "SigIgn", "/proc/self/status"}
	direct := w.do(w.cgroup, append(script, ask...)...)
	r := w.do(w.cgroup, append(append(script, program("outwarden"), "--config", w.config, "run", "--"), ask...)...)
	if r.code != 0 || r.stdout != direct.stdout || !strings.HasSuffix(r.stdout, "3\n") {
		t.Errorf("%v; without us %q", r, direct.stdout)
	}
}

// terminal opens a pseudo terminal, and gives the path of its other end.
func terminal(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { master.Close() })
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	return master, fmt.Sprint("/dev/pts/", n)
}

// A run goes on in scope whatever its cgroup is called, when its daemon dies.
func TestSystemRunOutlivesItsDaemon(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	odd := netnstest.Subgroup(t, w.cgroup, "with a\ttab: and 0::")
	p := w.begin(odd, program("outwarden"), "--config", w.config, "run", "--", program("client"), "steps")
	w.serving(p)
	d.kill()
	w.daemon()
	p.say(partnerURL)
	w.await("a second answer", func() bool { return strings.Count(p.stdout.String(), "done") == 2 })
	if open := w.status().Capture.Scopes; !slices.ContainsFunc(open, func(dir string) bool { return strings.HasPrefix(dir, odd+"/") }) {
		t.Errorf("in scope: %q", open)
	}
	p.end()
	w.await("the run has ended", func() bool { return len(w.status().Capture.Scopes) == 1 })
}

// However a run ends, the host is as it was.
func TestSystemRunLeavesNothing(t *testing.T) {
	w := newWorld(t)
	before := w.hostState()
	good := w.read("outwarden.yaml")
	clean := func(t *testing.T) {
		t.Helper()
		w.await("the ephemeral daemon has left", func() bool { return len(w.pinned()) == 0 && w.processes() == "" })
		w.sameHost(before)
	}
	t.Run("command fails", func(t *testing.T) {
		if r := w.run("false"); r.code != 1 || r.stderr != "" {
			t.Error(r)
		}
		clean(t)
	})
	t.Run("no such command", func(t *testing.T) {
		if r := w.run("no-such-command-anywhere"); r.code != 127 || !strings.Contains(r.stderr, "command not found") {
			t.Error(r)
		}
		clean(t)
	})
	t.Run("terminated", func(t *testing.T) {
		p := w.beginRun(program("client"), "steps")
		held := w.serving(p)
		must(t, p.Process.Signal(syscall.SIGTERM))
		<-p.done // its input stays open: it is the signal that ends it
		if code := p.end(); code != 128+int(syscall.SIGTERM) {
			t.Errorf("exit %d: %s", code, &p.stderr)
		}
		w.gone(held)
		clean(t)
	})
	t.Run("killed", func(t *testing.T) {
		p := w.beginRun(program("client"), "steps")
		held := w.serving(p)
		must(t, p.Process.Kill()) // the command goes on by itself, and ends when its input does
		p.end()
		w.gone(held)
		clean(t)
	})
	t.Run("background process", func(t *testing.T) {
		// The command ends, a child of it does not: the scope is the child's.
		p := w.beginRun("sh", "-c", "sleep 1 >/dev/null 2>&1 & exit 3")
		if code := p.end(); code != 3 {
			t.Errorf("exit %d: %s", code, &p.stderr)
		}
		clean(t)
	})
	t.Run("broken configuration", func(t *testing.T) {
		w.write("outwarden.yaml", good+"\nroutess: []\n")
		if r := w.run("true"); r.code != 1 || !strings.Contains(r.stderr, "outwarden.yaml:") || !strings.Contains(r.stderr, "routess") {
			t.Error(r)
		}
		clean(t)
	})
	t.Run("missing secret", func(t *testing.T) {
		w.write("outwarden.yaml", strings.ReplaceAll(good, "partner/bearer.token", "partner/no-such-file"))
		if r := w.run("true"); r.code != 1 || !strings.Contains(r.stderr, "partner-token") || !strings.Contains(r.stderr, "hint:") {
			t.Error(r)
		}
		clean(t)
	})
}

// serving waits until a run's command has answered, and returns what it holds in
// the kernel.
func (w *world) serving(p *process) []object {
	w.t.Helper()
	p.say(partnerURL)
	w.await("an answer", func() bool { return strings.Contains(p.stdout.String(), "done") })
	held := w.pinned()
	if len(held) < 10 {
		w.t.Errorf("only %d BPF objects are pinned: %v", len(held), held)
	}
	return held
}

// processes lists what runs in the world's cgroups.
func (w *world) processes() string {
	var all strings.Builder
	must(w.t, filepath.WalkDir(w.cgroup, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == "cgroup.procs" {
			b, _ := os.ReadFile(path) // a cgroup may go while we look
			for _, pid := range strings.Fields(string(b)) {
				argv, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				fmt.Fprintln(&all, pid, strings.ReplaceAll(string(argv), "\x00", " "))
			}
		}
		return nil
	}))
	return all.String()
}

// Runs that begin at once share one daemon, and it stays for the last of them.
func TestSystemRunsAtOnce(t *testing.T) {
	const runs, rounds = 6, 3
	w := newWorld(t)
	for range rounds {
		var all []*process
		for range runs {
			all = append(all, w.beginRun(program("client"), "steps"))
		}
		for _, p := range all {
			p.say(partnerURL)
		}
		for _, p := range all {
			w.await("an answer", func() bool {
				if p.stderr.String() != "" {
					t.Fatalf("run failed: %s", &p.stderr)
				}
				return strings.Contains(p.stdout.String(), "done")
			})
			accountIn(t, p.stdout.String()).verified(t)
		}
		if n := strings.Count(w.processes(), "--ephemeral"); n != 1 {
			t.Errorf("%d ephemeral daemons:\n%s", n, w.processes())
		}
		for i, p := range all { // the one that started the daemon leaves before others
			if code := p.end(); code != 0 {
				t.Errorf("exit %d: %s", code, &p.stderr)
			}
			if i == 0 {
				last := all[len(all)-1]
				last.say(partnerURL)
				w.await("the last run still works", func() bool { return strings.Count(last.stdout.String(), "done") == 2 })
			}
		}
		// No wait: the next round meets a daemon that is leaving.
	}
	w.await("the last daemon has left", func() bool { return w.processes() == "" })
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
}

func TestSystemRunAsUser(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	r := w.outwarden("run", "--user", "nobody", "--", program("client"), "get", partnerURL)
	if r.code != 0 {
		t.Fatal(r)
	}
	accountIn(t, r.stdout).verified(t)
	r = w.outwarden("run", "--user", "nobody", "--", "sh", "-c", "id -u; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status")
	for _, want := range []string{"65534\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in %v", want, r)
		}
	}
	him, err := user.Lookup("nobody")
	must(t, err)
	r = w.do(w.cgroup, "env", "HOME=/root", "USER=root", "LOGNAME=root", "OTHER=kept", program("outwarden"), "--config", w.config, "run", "--user", "nobody", "--",
		"sh", "-c", "echo $HOME $USER $LOGNAME $OTHER")
	if r.code != 0 || r.stdout != him.HomeDir+" nobody nobody kept\n" {
		t.Errorf("whose home it is: %v", r)
	}
}

// An unprivileged user gets nothing out of us: no run, no control, and a socket
// or a directory of theirs is not taken for ours.
func TestSystemUnprivileged(t *testing.T) {
	w := newWorld(t)
	must(t, os.Chmod(w.config, 0o644))
	w.daemon()
	outwarden := func(args ...string) string {
		cmd := exec.Command(program("outwarden"), append([]string{"--config", w.config}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Dir = "/"
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v as nobody: exit %d: %s", args, cmd.ProcessState.ExitCode(), out)
		}
		return string(out)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"run", "--", "true"}, "run needs root"},
		{[]string{"status"}, "permission denied"},
		{[]string{"reload"}, "permission denied"},
		{[]string{"detach"}, "detach needs root"},
		{[]string{"daemon"}, "denied"},
	} {
		if said := outwarden(c.args...); !strings.Contains(said, c.says) || strings.Contains(said, "start one with") {
			t.Errorf("%v as nobody: %s", c.args, said)
		}
	}
	must(t, os.Chmod(w.path("run/control.sock"), 0o777)) // the kernel's word on the peer still counts
	if said := outwarden("status"); !strings.Contains(said, "permission denied") {
		t.Errorf("status as nobody on an open socket: %s", said)
	}
	for _, name := range []string{"state/authority", "state/audit"} {
		if info, err := os.Stat(w.path(name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

func TestSystemForeignRunDir(t *testing.T) {
	w := newWorld(t)
	must(t, os.Mkdir(w.path("run"), 0o755))
	must(t, os.Chown(w.path("run"), nobody, nobody))
	if r := w.run("true"); r.code != 1 || !strings.Contains(r.stderr, "not a directory that we alone can write to") {
		t.Error(r)
	}
}
