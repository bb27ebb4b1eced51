package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The network: documentation addresses on one link.
const (
	hostNS, originNS = "host", "internet"
	hostIP           = "198.51.100.1"
	apiIP            = "198.51.100.80" // nginx
	appIP            = "198.51.100.81" // our own origin
	badIP            = "198.51.100.82" // nginx with a leaf that nobody trusts
	rpcIP            = "198.51.100.83" // our own origin, for gRPC
	peerIP           = "127.0.0.1"     // where peers listen
)

// The names. The origins of the first three want the bearer token.
const (
	apiName    = "api.bench.test"
	appName    = "app.bench.test"
	rpcName    = "rpc.bench.test"
	newNames   = "n%d.new.bench.test" // each called for the first time once
	plainName  = "plain.bench.test"   // passed through, and the direct way to apiIP
	openName   = "open.bench.test"    // the direct way to appIP
	badName    = "bad.bench.test"
	badRPCName = "badrpc.bench.test"
)

const (
	newCount = 40 // of newNames
	bearer   = "b3nch-t0ken-of-the-rig-0123456789"
)

// world is the stage: namespaces, cgroups, certificates, origins.
type world struct {
	plan                  *plan
	dir                   string
	cgroup                string // of the rig, with the roles' below
	mounted               string // where cgroups are
	exes                  string // of clients, comma-separated
	client, proxy, origin *role
	removable             []func() error // last first
}

func newWorld(p *plan) (w *world, err error) {
	w = &world{plan: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
			w = nil
		}
	}()
	for _, step := range []func() error{w.directories, w.network, w.roles, w.clients, w.certificates, w.content, w.origins} {
		if err := step(); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *world) later(f func() error) { w.removable = append(w.removable, f) }

func (w *world) close() error {
	var failed error
	for i := len(w.removable) - 1; i >= 0; i-- {
		failed = errors.Join(failed, w.removable[i]())
	}
	return failed
}

// directories makes the places, and hides the host's own behind them: names of
// namespaces, /etc/hosts and BPF pins.
func (w *world) directories() error {
	dir, err := os.MkdirTemp("", "outwarden-bench-")
	if err != nil {
		return err
	}
	w.dir = dir
	w.later(func() error { return os.RemoveAll(dir) })
	for _, d := range []string{"netns", "bpf", "www", "clients"} {
		if err := os.Mkdir(w.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(w.path("hosts"), nil, 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := w.mount(w.path("bpf"), w.path("bpf"), "bpf", 0); err != nil {
		return err
	}
	if err := w.mount(w.path("netns"), "/run/netns", "", unix.MS_BIND); err != nil {
		return err
	}
	return w.mount(w.path("hosts"), "/etc/hosts", "", unix.MS_BIND)
}

// mount is undone before the directory goes, so that nothing of the host's is
// removed through it.
func (w *world) mount(source, target, fstype string, flags uintptr) error {
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		return &os.PathError{Op: "mount", Path: target, Err: err}
	}
	w.later(func() error { return unix.Unmount(target, unix.MNT_DETACH) })
	return nil
}

// hosts says where clients and proxies find the names.
func (w *world) hosts(b peer) error {
	var s strings.Builder
	line := func(ip string, names ...string) {
		if b != nil && b.local() {
			ip = peerIP
		}
		fmt.Fprintln(&s, ip, strings.Join(names, " "))
	}
	fmt.Fprintln(&s, "127.0.0.1 localhost")
	line(apiIP, apiName, plainName)
	line(appIP, appName, openName)
	line(badIP, badName)
	line(rpcIP, rpcName, badRPCName)
	for i := range newCount {
		line(apiIP, fmt.Sprintf(newNames, i))
	}
	return os.WriteFile(w.path("hosts"), []byte(s.String()), 0o644)
}

// network makes the two namespaces and the link between them.
func (w *world) network() error {
	w.later(func() error {
		return errors.Join(do("ip", "netns", "delete", hostNS), do("ip", "netns", "delete", originNS))
	})
	for _, args := range [][]string{
		{"netns", "add", hostNS},
		{"netns", "add", originNS},
		{"-n", hostNS, "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", originNS},
		{"-n", hostNS, "address", "add", hostIP + "/24", "dev", "out0"},
		{"-n", originNS, "address", "add", apiIP + "/24", "dev", "in0"},
		{"-n", originNS, "address", "add", appIP + "/24", "dev", "in0"},
		{"-n", originNS, "address", "add", badIP + "/24", "dev", "in0"},
		{"-n", originNS, "address", "add", rpcIP + "/24", "dev", "in0"},
		{"-n", hostNS, "link", "set", "out0", "up"},
		{"-n", originNS, "link", "set", "in0", "up"},
		{"-n", hostNS, "link", "set", "lo", "up"},
		{"-n", originNS, "link", "set", "lo", "up"},
	} {
		if err := do("ip", args...); err != nil {
			return err
		}
	}
	for _, ns := range []string{hostNS, originNS} {
		if err := inNS(ns, tune); err != nil {
			return fmt.Errorf("tune namespace %s: %v", ns, err)
		}
	}
	return nil
}

// tune lets a namespace take thousands of short connections a second. The
// settings are those of the calling thread's namespace.
func tune() error {
	for name, value := range map[string]string{
		"net/ipv4/ip_local_port_range": "1024 65535",
		"net/core/somaxconn":           "8192",
		"net/ipv4/tcp_max_syn_backlog": "8192",
		"net/ipv4/tcp_tw_reuse":        "1",
		"net/ipv4/tcp_max_tw_buckets":  "4096",
	} {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// do runs a command that should be silent.
func do(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
