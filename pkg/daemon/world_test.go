package daemon_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
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
