package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

const (
	partnerName = "api.partner.example"
	partnerURL  = "https://" + partnerName + "/v1/transfers"
	partnerAddr = "198.51.100.80:443"
	egressIP    = "198.51.100.20"
)

// patience bounds what must happen some time; nothing is measured by it.
var patience = time.Duration(netnstest.Slower()) * 30 * time.Second

// world is one test's host, with its own addresses, /etc/hosts, cgroups, state
// and pins, and an internet with the partner API in it.
//
//	host: 198.51.100.1, .20 (egress), 2001:db8:9::1 <--veth--> internet: .80 (partner), .81 to .89, 2001:db8:9::80
type world struct {
	t              testing.TB
	dir            string
	host, internet *netnstest.NS
	cgroup         string // of our commands; workloads that a daemon captures are in work
	work           string
	pins           string
	config         string
	start          func(*exec.Cmd) error // on the host, with its /etc/hosts
}

func newWorld(t testing.TB) *world {
	t.Helper()
	requireBinaries(t)
	dir, err := openDir()
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, host: netnstest.New(t), internet: netnstest.New(t), cgroup: netnstest.Cgroup(t)}
	w.work = netnstest.Subgroup(t, w.cgroup, "work")
	w.pins = "/sys/fs/bpf/outwarden-system-" + filepath.Base(w.cgroup)
	w.config = w.path("outwarden.yaml")
	w.wire()
	w.hosts(partnerName, "198.51.100.80")
	w.start = w.spawner()
	t.Cleanup(w.detach)
	w.partner()
	w.configure(w.standard())
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) string {
	w.t.Helper()
	must(w.t, os.MkdirAll(filepath.Dir(w.path(name)), 0o755))
	must(w.t, os.WriteFile(w.path(name), []byte(text), 0o600))
	return w.path(name)
}

func (w *world) wire() {
	there := []string{"2001:db8:9::80/64"}
	for i := range 10 {
		there = append(there, fmt.Sprintf("198.51.100.%d/24", 80+i))
	}
	w.host.Veth(w.internet, prefixes("198.51.100.1/24", egressIP+"/24", "2001:db8:9::1/64"), prefixes(there...))
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// hosts adds a name to the host's /etc/hosts, also while it is in use.
func (w *world) hosts(name, addr string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path("hosts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(w.t, err)
	_, err = fmt.Fprintln(f, addr, name)
	must(w.t, errors.Join(err, f.Close()))
}

// spawner keeps one thread in the host's network namespace and in a mount
// namespace where our hosts file lies over /etc/hosts. What it starts is there
// too, and dies with the test.
func (w *world) spawner() func(*exec.Cmd) error {
	type request struct {
		cmd  *exec.Cmd
		done chan error
	}
	requests := make(chan request)
	ready := make(chan error)
	var over sync.WaitGroup
	over.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ready <- w.enter()
		for r := range requests {
			r.done <- r.cmd.Start()
		}
	})
	must(w.t, <-ready)
	w.t.Cleanup(func() { close(requests); over.Wait() })
	return func(cmd *exec.Cmd) error {
		r := request{cmd, make(chan error, 1)}
		requests <- r
		return <-r.done
	}
}

func (w *world) enter() error {
	if err := unix.Setns(w.host.Fd(), unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount(w.path("hosts"), "/etc/hosts", "", unix.MS_BIND, "")
}

// partner starts the demanding API and waits until it listens.
func (w *world) partner() {
	w.t.Helper()
	out, err := exec.Command(program("partnerapi"), "--init", w.path("partner")).CombinedOutput()
	if err != nil {
		w.t.Fatalf("partnerapi --init: %v: %s", err, out)
	}
	w.serve("partner", "--dir", w.path("partner"), "--listen", partnerAddr, "--allow", egressIP)
}

// serve starts a partner API in the internet and ends it with the test.
func (w *world) serve(name string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(program("partnerapi"), args...)
	log, err := os.Create(w.path(name + ".log"))
	must(w.t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(w.t, w.internet.Start(cmd, ""))
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.await(name+" listens", func() bool { return strings.Contains(w.read(name+".log"), "listening on") })
}

func (w *world) read(name string) string {
	b, err := os.ReadFile(w.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(b)
}

// await waits for what must become true.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("not in %s: %s\ndaemon log: %s", patience, what, w.read("daemon.log")+w.read("run/daemon.log"))
}

// settings are what tests vary in a configuration.
type settings struct {
	fail   string
	from   string // of the partner's route, in YAML; "": anyone
	to     string // its `to`
	extra  string // whole top-level lines, or more routes
	ports  string
	prefix string // whole top-level lines before the routes
	hooks  string // more of capture, in YAML, each ", key: value"
}

func (w *world) standard() settings {
	return settings{fail: "closed", to: "{host: " + partnerName + ", ports: [443], methods: [GET, POST], paths: [/v1/**]}"}
}

func (w *world) configure(s settings) {
	w.t.Helper()
	if s.from != "" {
		s.from = "from: " + s.from
	}
	if s.ports == "" {
		s.ports = "[80, 443]"
	}
	w.write("outwarden.yaml", fmt.Sprintf(`state_dir: state
run_dir: run
capture: {scope: [{cgroup: %s}], pin_dir: %s, fail: %s, ports: %s%s}
secrets:
  partner-key: {file: partner/client-key.pem}
  partner-hmac: {file: partner/hmac.key}
  partner-token: {file: partner/bearer.token}
%s
routes:
- name: partner-transfers
  %s
  to: %s
  action: intercept
  upstream:
    ca: partner/ca.pem
    mtls: {cert: partner/client.pem, key: secret:partner-key}
    egress_ip: %s
  inject: [{bearer: secret:partner-token}]
  sign: {hmac: {key: secret:partner-hmac, preset: knoxcall, nonce: true}}
%s`, w.cgroupPath(w.work), w.pins, s.fail, s.ports, s.hooks, s.prefix, s.from, s.to, egressIP, s.extra))
}

// cgroupPath is a cgroup as a configuration names it.
func (w *world) cgroupPath(dir string) string {
	return strings.TrimPrefix(dir, netnstest.CgroupMount(w.t))
}

// process is a started command.
type process struct {
	*exec.Cmd
	t              testing.TB
	stdin          io.WriteCloser
	stdout, stderr buffer
	done           chan struct{}
}

// buffer can be read while a command writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// begin starts a command on the host in a cgroup.
func (w *world) begin(cgroup string, argv ...string) *process {
	w.t.Helper()
	return w.beginWith(nil, cgroup, argv...)
}

// beginWith is begin with descriptors from 3 on.
func (w *world) beginWith(files []*os.File, cgroup string, argv ...string) *process {
	w.t.Helper()
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), t: w.t, done: make(chan struct{})}
	p.Stdout, p.Stderr, p.Dir, p.ExtraFiles = &p.stdout, &p.stderr, w.dir, files
	p.WaitDelay = time.Second // a daemon that a command leaves behind may hold the pipes
	var err error
	p.stdin, err = p.StdinPipe()
	must(w.t, err)
	dir, err := os.Open(cgroup)
	must(w.t, err)
	defer dir.Close()
	p.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	must(w.t, w.start(p.Cmd))
	go func() { _ = p.Wait(); close(p.done) }()
	w.t.Cleanup(func() { p.Process.Kill(); <-p.done; sound(w.t, p.stderr.String()) })
	return p
}

// sound fails the test where a daemon has left the marks of a defect.
func sound(t testing.TB, log string) {
	t.Helper()
	for _, mark := range []string{"DATA RACE", "panic:", "fatal error:", "goroutine "} {
		if strings.Contains(log, mark) {
			t.Errorf("log of a daemon: %s", log)
			return
		}
	}
}

// end waits for a command to end and returns its exit code, 128 and more for a
// signal.
func (p *process) end() int {
	p.t.Helper()
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(2 * patience):
		p.t.Fatalf("%v does not end\n%s\n%s", p.Args, &p.stdout, &p.stderr)
	}
	if ws := p.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ProcessState.ExitCode()
}

// say writes a line to a command.
func (p *process) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	must(p.t, err)
}

// result is an ended command.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// do runs a command on the host to its end.
func (w *world) do(cgroup string, argv ...string) result {
	w.t.Helper()
	p := w.begin(cgroup, argv...)
	code := p.end()
	return result{p.stdout.String(), p.stderr.String(), code}
}

// outwarden runs one of our commands with the world's configuration.
func (w *world) outwarden(args ...string) result {
	w.t.Helper()
	return w.do(w.cgroup, append([]string{program("outwarden"), "--config", w.config}, args...)...)
}

// run runs a workload under an ephemeral daemon, or under the one that runs.
func (w *world) run(argv ...string) result {
	w.t.Helper()
	return w.outwarden(append([]string{"run", "--"}, argv...)...)
}

// trusting is the variable that makes a Go program trust us without a run.
func (w *world) trusting() string { return "SSL_CERT_FILE=" + w.path("run/trust/bundle.pem") }

// beginRun starts a workload with outwarden run.
func (w *world) beginRun(argv ...string) *process {
	w.t.Helper()
	return w.begin(w.cgroup, append([]string{program("outwarden"), "--config", w.config, "run", "--"}, argv...)...)
}

// daemon starts the daemon and waits until it serves.
func (w *world) daemon() *process {
	w.t.Helper()
	p := w.begin(w.cgroup, program("outwarden"), "daemon", "--config", w.config)
	w.await("daemon is ready", func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("the daemon ended: %s", &p.stderr)
		default:
		}
		return strings.Contains(p.stderr.String(), "outwarden is ready")
	})
	return p
}

// stop ends a daemon in order.
func (p *process) stop() {
	p.t.Helper()
	must(p.t, p.Process.Signal(syscall.SIGTERM))
	if code := p.end(); code != 0 {
		p.t.Errorf("%v ended with %d: %s", p.Args, code, &p.stderr)
	}
}

// kill ends a process as a crash would.
func (p *process) kill() {
	p.t.Helper()
	must(p.t, p.Process.Kill())
	<-p.done
}

// detach makes sure that no pins outlive a test, whatever it did.
func (w *world) detach() {
	sound(w.t, w.read("run/daemon.log"))
	if r := w.outwarden("detach"); r.code != 0 {
		w.t.Errorf("detach: %v", r)
	}
}

// account is what the partner says about a request.
type account struct {
	OK         bool     `json:"ok"`
	Reason     string   `json:"reason"`
	Proto      string   `json:"proto"`
	Headers    []string `json:"headers"`
	SourceIP   string   `json:"source_ip"`
	ClientCert string   `json:"client_cert"`
	Signature  string   `json:"signature"`
}

// accountIn finds the partner's answer in what a client printed.
func accountIn(t testing.TB, out string) account {
	t.Helper()
	var a account
	start, end := strings.IndexByte(out, '{'), strings.LastIndexByte(out, '}')
	if start < 0 || end < start {
		t.Fatalf("no account in %q", out)
	}
	if err := json.Unmarshal([]byte(out[start:end+1]), &a); err != nil {
		t.Fatalf("account %q: %v", out, err)
	}
	return a
}

// verified checks that the partner saw all it demands.
func (a account) verified(t testing.TB) {
	t.Helper()
	if !a.OK || a.Signature != "verified" || !strings.Contains(a.ClientCert, "billing-client") || a.SourceIP != egressIP {
		t.Errorf("the partner saw %+v", a)
	}
}

// records reads the whole trail.
func (w *world) records(kinds ...string) []audit.Record {
	w.t.Helper()
	var all []audit.Record
	for r, err := range audit.Read(w.path("state/audit"), audit.Query{Kinds: kinds}) {
		must(w.t, err)
		all = append(all, r)
	}
	return all
}

// find waits for a record that fits: results are written after the answer.
func (w *world) find(what string, fits func(*audit.Record) bool) (found audit.Record) {
	w.t.Helper()
	w.await("a record of "+what, func() bool {
		for _, r := range w.records() {
			if fits(&r) {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// status asks the daemon how it is.
func (w *world) status() *control.Status {
	w.t.Helper()
	s, err := control.NewClient(w.path("run/control.sock")).Status(w.t.Context())
	must(w.t, err)
	return s
}

// killPID kills a daemon that a command of ours started, and waits for its end.
func killPID(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("process %d does not end: %v", pid, err)
	}
}
