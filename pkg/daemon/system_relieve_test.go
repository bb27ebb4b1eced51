package daemon_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// A successor that cannot take over, however far it came, leaves everything as it
// was: the daemon that runs goes on, and no call is harmed.
func TestSystemUpgradeFails(t *testing.T) {
	w := newWorld(t)
	exe := w.path("outwarden")
	must(t, os.Link(program("outwarden"), exe))
	d := w.launch("", exe)
	w.countDirect()
	load := w.load("2")
	pid := w.status().PID
	still := func(when string) {
		t.Helper()
		seen := w.status()
		if seen.PID != pid {
			t.Fatalf("%s: pid %d serves, want %d", when, seen.PID, pid)
		}
		w.await("requests after: "+when, func() bool { return w.status().Flows.Requests > seen.Flows.Requests+5 })
	}
	fails := func(why string) {
		t.Helper()
		r := w.outwarden("upgrade")
		if r.code != 1 || !strings.Contains(r.stderr, "did not take over") || !strings.Contains(r.stderr, why) || !strings.Contains(r.stderr, "goes on") {
			t.Errorf("upgrade: %v", r)
		}
		still(why)
	}

	must(t, os.Rename(exe, exe+".good"))
	must(t, os.WriteFile(exe, []byte("#!/bin/sh\nexit 7\n"), 0o755))
	fails("exit status 7")
	must(t, os.Rename(exe+".good", exe))

	w.setLayout(newer)
	fails("layout this version does not know")
	w.setLayout(older)

	closed := w.read("outwarden.yaml")
	w.write("outwarden.yaml", strings.Replace(closed, "fail: closed", "fail: open", 1))
	fails("takes a restart")
	w.write("outwarden.yaml", closed)

	for _, stop := range []string{"terms", "ready", "serving"} {
		ports, err := ebpf.LoadPinnedMap(w.pins+"/ports", nil)
		must(t, err)
		defer ports.Close()
		const strange = uint16(9) // of the successor's configuration alone
		must(t, ports.Put(strange, uint8(1)))
		s := w.pretend()
		s.until(stop)
		s.conn.Close()
		still("a successor that leaves after " + stop)
		var captured uint8
		w.await("our ports after: "+stop, func() bool { return errors.Is(ports.Lookup(strange, &captured), ebpf.ErrKeyNotExist) })
	}
	for key, other := range map[string]string{"state_dir": "/elsewhere", "fail": "open"} {
		s := w.pretend()
		s.terms[key] = other
		if got := s.until("terms"); !strings.Contains(got, key+" is ") || !strings.Contains(got, "takes a restart") {
			t.Errorf("another %s: %s", key, got)
		}
		still("a successor with another " + key)
	}

	if r := w.outwarden("upgrade"); r.code != 0 {
		t.Errorf("upgrade in the end: %v", r)
	}
	w.handedOn(d, load)
}

// A daemon does not touch pins of a layout that it does not know; they go on
// answering by the fail policy.
func TestSystemUnknownLayout(t *testing.T) {
	w := newWorld(t)
	w.daemon().kill()
	held := w.pinned()
	w.setLayout(newer)
	r := w.outwarden("daemon")
	if r.code != 1 || !strings.Contains(r.stderr, "layout this version does not know") || !strings.Contains(r.stderr, "outwarden detach removes it") {
		t.Errorf("start: %v", r)
	}
	if got := w.pinned(); len(got) != len(held) {
		t.Errorf("%d objects are pinned, want %d", len(got), len(held))
	}
	if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code == 0 {
		t.Error("a connect passed")
	}
}

// pretender is a successor that goes no further than it is told to.
type pretender struct {
	w     *world
	conn  *net.UnixConn
	in    *json.Decoder
	terms map[string]any
}

// pretend comes to the daemon with the terms that it wants to hear.
func (w *world) pretend() *pretender {
	w.t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: w.path("run/handover.sock")})
	must(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	must(w.t, conn.SetDeadline(time.Now().Add(patience)))
	return &pretender{w, conn, json.NewDecoder(conn), map[string]any{
		"version": "pretender", "state_dir": w.path("state"), "pin_dir": w.pins, "mark": 0, "listen": nil, "cgroup": w.cgroupPath(w.cgroup),
		"fail": "closed", "raw": "refuse", "backend": "rewrite", "redirect_mark": 0,
	}}
}

// until plays along up to a step, and gives the daemon's last words. The
// descriptors that it is sent are closed by the kernel: it takes none.
func (p *pretender) until(last string) string {
	p.w.t.Helper()
	said := p.ask(map[string]any{"terms": p.terms})
	for _, step := range []string{"ready", "serving"} {
		if last == "terms" || strings.Contains(said, "failed") {
			return said
		}
		if step == last && step == "serving" {
			return said // it has our word only up to here
		}
		said = p.ask(map[string]any{"step": step})
		if step == last {
			return said
		}
	}
	return said
}

func (p *pretender) ask(message any) string {
	p.w.t.Helper()
	must(p.w.t, json.NewEncoder(p.conn).Encode(message))
	var answer json.RawMessage
	must(p.w.t, p.in.Decode(&answer))
	return string(answer)
}

// layoutOffset is where struct state has the layout.
const layoutOffset = 16

// setLayout makes the pins say that they have another layout.
func (w *world) setLayout(change func(uint32) uint32) {
	w.t.Helper()
	m, err := ebpf.LoadPinnedMap(w.pins+"/state", nil)
	must(w.t, err)
	defer m.Close()
	var state [24]byte
	must(w.t, m.Lookup(uint32(0), &state))
	layout := state[layoutOffset : layoutOffset+4]
	binary.NativeEndian.PutUint32(layout, change(binary.NativeEndian.Uint32(layout)))
	must(w.t, m.Put(uint32(0), state))
}

func newer(layout uint32) uint32 { return layout + 1 }
func older(layout uint32) uint32 { return layout - 1 }
