package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
	"github.com/outwarden/outwarden/pkg/trust"
)

// report prints what surrounds the command.
func report() {
	status, _ := os.ReadFile("/proc/self/status")
	for _, name := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"} {
		line := regexp.MustCompile(`(?m)^` + name + `:(.*)$`).FindSubmatch(status)
		fmt.Fprintf(os.Stdout, "%s=%s\n", name, strings.Join(strings.Fields(string(line[1])), " "))
	}
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	fds, _ := os.ReadDir("/proc/self/fd")
	var open []string
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.Contains(link, "memfd") {
			open = append(open, link)
		}
	}
	dir, _ := os.Getwd()
	fmt.Fprintf(os.Stdout, "cgroup=%s\nargs=%q\nenv=%q\ndir=%s\nmemfds=%q\n", regexp.MustCompile(`(?m)^0::(.*)$`).FindSubmatch(cgroup)[1], os.Args, os.Environ(), dir, open)
}

func wantLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	return exe
}

func TestCommandGetsWhatItWasGiven(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	out, code := run(t, &Spec{Args: []string{self(t), "a b", ""}, Env: []string{role + "=report", "X=1"}, Dir: dir})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantLines(t, out, fmt.Sprintf("args=%q", []string{self(t), "a b", ""}), fmt.Sprintf("env=%q", []string{role + "=report", "X=1"}),
		"dir="+dir, "memfds=[]", "NoNewPrivs=0")
}

// A file's name in Latin-1 is a string to the system, and the command gets it as it is.
func TestCommandGetsWhatIsNoText(t *testing.T) {
	const name = "caf\xe9"
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	dir = filepath.Join(dir, name)
	must(t, os.Mkdir(dir, 0o755))
	argv, env := []string{self(t), name, "\xff"}, []string{role + "=report", "X=" + name}
	out, code := run(t, &Spec{Args: argv, Env: env, Dir: dir})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantLines(t, out, fmt.Sprintf("args=%q", argv), fmt.Sprintf("env=%q", env), "dir="+dir)
}

func TestLargeSpecification(t *testing.T) {
	env := []string{role + "=report", "BIG=" + strings.Repeat("x", 100<<10), "BIGGER=" + strings.Repeat("y", 120<<10)}
	if out, code := run(t, &Spec{Args: []string{self(t)}, Env: env}); code != 0 || !strings.Contains(out, env[2]) {
		t.Errorf("exit code %d, %d bytes", code, len(out))
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, contents string, mode os.FileMode) string {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(contents), mode))
		return filepath.Join(dir, name)
	}
	script := write("bin/ok", "#!/bin/sh\nexit 7\n", 0o755)
	path := "PATH=" + dir + "/none:" + dir + "/first:" + dir + "/bin"
	write("first/shadowed", "x", 0o644)
	write("bin/shadowed", "#!/bin/sh\nexit 8\n", 0o755)
	write("first/plain", "x", 0o644)
	for name, c := range map[string]struct {
		spec Spec
		code int
		says string
	}{
		"the command's own":       {Spec{Args: []string{script}}, 7, ""},
		"found in PATH":           {Spec{Args: []string{"ok"}, Env: []string{"PATH=/wrong", path}}, 7, ""},
		"a later one runs":        {Spec{Args: []string{"shadowed"}, Env: []string{path}}, 8, ""},
		"not in PATH":             {Spec{Args: []string{"none-such"}, Env: []string{path}}, CodeNotFound, "none-such: command not found"},
		"PATH of the default":     {Spec{Args: []string{"true"}}, 0, ""},
		"no such path":            {Spec{Args: []string{dir + "/none"}}, CodeNotFound, "no such file"},
		"below a file":            {Spec{Args: []string{script + "/x"}}, CodeNotFound, "not a directory"},
		"a directory":             {Spec{Args: []string{dir}}, CodeNotRunning, "is a directory"},
		"not executable":          {Spec{Args: []string{dir + "/first/plain"}}, CodeNotRunning, "permission denied"},
		"not executable, in PATH": {Spec{Args: []string{"plain"}, Env: []string{path}}, CodeNotRunning, "permission denied"},
		"no format":               {Spec{Args: []string{write("noise", "noise", 0o755)}}, CodeNotRunning, "exec format error"},
		"no interpreter":          {Spec{Args: []string{write("lost", "#!/none/such\n", 0o755)}}, CodeNotFound, "no such file"},
		"no command":              {Spec{}, CodeSetup, "no command"},
		"empty command":           {Spec{Args: []string{""}}, CodeSetup, "no command"},
		"no cgroup":               {Spec{Args: []string{script}, Cgroup: dir + "/none"}, CodeSetup, "join cgroup"},
		"no trust store":          {Spec{Args: []string{script}, Trust: dir + "/none"}, CodeSetup, "open trust store"},
		"no directory":            {Spec{Args: []string{script}, Dir: dir + "/none"}, CodeSetup, "no such file"},
	} {
		out, code := run(t, &c.spec)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, %q; want %d, %q", name, code, out, c.code, c.says)
		}
	}
}

func TestCgroupIsJoined(t *testing.T) {
	group := netnstest.Cgroup(t)
	out, _ := run(t, &Spec{Args: []string{self(t)}, Env: []string{role + "=report"}, Cgroup: group})
	wantLines(t, out, "cgroup="+strings.TrimPrefix(group, netnstest.CgroupMount(t)))
}

func TestUserHasNothingLeft(t *testing.T) {
	netnstest.RequireRoot(t)
	must(t, os.Chmod(filepath.Dir(self(t)), 0o755)) // where go test put this binary
	must(t, os.Chmod(filepath.Dir(filepath.Dir(self(t))), 0o755))
	for name, u := range map[string]*User{
		"nobody":            {UID: 65534, GID: 65534, Groups: []int{65534, 5}},
		"no groups":         {UID: 12345, GID: 54321},
		"root in name only": {UID: 0, GID: 0},
	} {
		out, code := run(t, &Spec{Args: []string{self(t)}, Env: []string{role + "=report"}, User: u})
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", name, code, out)
			continue
		}
		const none = "0000000000000000"
		ids := func(n int) string { return strings.TrimSpace(strings.Repeat(fmt.Sprint(n, " "), 4)) }
		wantLines(t, out, "Uid="+ids(u.UID), "Gid="+ids(u.GID), "CapInh="+none, "CapPrm="+none, "CapEff="+none, "CapBnd="+none,
			"CapAmb="+none, "NoNewPrivs=1")
		if u.Groups == nil {
			wantLines(t, out, "Groups=")
		}
	}
}

func TestMountRefusesToReachTheHost(t *testing.T) {
	netnstest.RequireRoot(t)
	_, rootPEM := server(t)
	store, err := trust.Prepare(filepath.Join(t.TempDir(), "trust"), rootPEM)
	must(t, err)
	before := host(t)
	done := make(chan error, 1)
	go func() { // on a thread that ends with this goroutine, in a namespace of its own whose mounts are shared
		done <- onOwnThread(func() error {
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
				return err
			}
			return store.Mount()
		})
	}()
	if err := <-done; err != trust.ErrSharedMounts {
		t.Errorf("got %v", err)
	}
	if after := host(t); after != before {
		t.Error("the host is changed")
	}
}

func TestCopiesCannotBeChangedByTheWorkload(t *testing.T) {
	netnstest.RequireRoot(t)
	_, rootPEM := server(t)
	store, err := trust.Prepare(filepath.Join(t.TempDir(), "trust"), rootPEM)
	must(t, err)
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(bundle); err != nil {
		netnstest.Skip(t, "no "+bundle+" on this host")
	}
	out, code := run(t, &Spec{Args: []string{"sh", "-c", "echo x >> " + bundle}, Env: plain(), Trust: store.Dir()})
	if code == 0 || !strings.Contains(out, "Read-only") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// onOwnThread runs f in a mount namespace of its own, on a thread that is thrown
// away: the goroutine ends while it is locked.
func onOwnThread(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return f()
}
