package daemon_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// silentServer takes questions at the address and answers none.
const silentServer = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("198.51.100.81", 53))
while True:
    s.recv(4096)`

// lookupFlood asks for another host each time, waits for no answer, and is not put off by
// the reset that tells it that it has its share.
const lookupFlood = `import socket
n = 0
while True:
    n += 1
    try:
        with socket.create_connection(("198.51.100.80", 80)) as s:
            s.send(b"GET / HTTP/1.1\r\nHost: x%d.flood.example\r\n\r\n" % n)
    except OSError:
        pass`

// A workload that has names looked up which nobody answers for takes neither the host's
// UDP ports nor what other workloads need: a container has more names than ports.
func TestSystemLookupFlood(t *testing.T) {
	w := newWorld(t)
	s := w.standard()
	s.prefix = "dns: {servers: [\"198.51.100.81:53\"]}\n"
	s.extra = "- name: wild\n  to: {host: \"*.flood.example\", ports: [80]}\n  action: intercept\n"
	w.configure(s)
	server := exec.Command("python3", "-c", silentServer)
	must(t, w.internet.Start(server, ""))
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	d := w.daemon()
	flood := w.begin(netnstest.Subgroup(t, w.work, "greedy"), "python3", "-c", lookupFlood)
	const most = 2*512 + 32 // two sockets for each lookup, and those of the host
	w.await("it has asked for many", func() bool {
		if n := udpSockets(t, w, d.Process.Pid); n > most {
			t.Errorf("%d UDP sockets in use, want %d at most", n, most)
			return true
		}
		s := w.status().Flows
		return s.Limited > 0 || s.Accepted > 15000 // it has every connection that it can get, or was let go on
	})
	must(t, flood.Process.Kill())
	if r := w.do(netnstest.Subgroup(t, w.work, "another"), "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("get: %v", r)
	}
}

// udpSockets counts those in the network namespace of a process.
func udpSockets(t *testing.T, w *world, pid int) (n int) {
	t.Helper()
	r := w.do(w.cgroup, "cat", fmt.Sprintf("/proc/%d/net/sockstat", pid))
	for line := range strings.Lines(r.stdout) {
		if _, err := fmt.Sscanf(line, "UDP: inuse %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no count of sockets: %v", r)
	return 0
}

// Where descriptors are few, a workload that holds all the connections it can get leaves
// enough for others, and for us.
func TestSystemFewDescriptors(t *testing.T) {
	w := newWorld(t)
	d := w.begin(w.cgroup, "prlimit", "--nofile=2000:2000", program("outwarden"), "daemon", "--config", w.config)
	w.await("daemon is ready", func() bool { return strings.Contains(d.stderr.String(), "outwarden is ready") })
	w.begin(netnstest.Subgroup(t, w.work, "greedy"), program("client"), "dial", "2500", partnerAddr, partnerName, "1m")
	w.await("it has what it can get", func() bool {
		return w.status().Flows.Limited > 0 || strings.Contains(d.stderr.String(), "too many open files")
	})
	another := netnstest.Subgroup(t, w.work, "another")
	for range 5 {
		if r := w.do(another, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
			t.Errorf("get: %v", r)
		}
	}
	if log := d.stderr.String(); strings.Contains(log, "too many open files") {
		t.Errorf("log: %s", log[:min(len(log), 2000)])
	}
}
