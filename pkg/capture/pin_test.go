package capture

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// ids are the kernel objects behind pinned state.
type ids struct {
	programs []ebpf.ProgramID
	maps     []ebpf.MapID
	links    []link.ID
}

// idsOf follows the pins in dir to all that hangs on them, unpinned maps of programs included.
func idsOf(t *testing.T, dir string) (found ids) {
	t.Helper()
	names, err := pins(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if !strings.HasPrefix(name, linkPrefix) {
			m, err := ebpf.LoadPinnedMap(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			found.maps = append(found.maps, mapID(t, m))
			m.Close()
			continue
		}
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		found.links = append(found.links, info.ID)
		found.programs = append(found.programs, info.Program)
		found.maps = append(found.maps, mapsOf(t, info.Program)...)
	}
	slices.Sort(found.maps)
	found.maps = slices.Compact(found.maps)
	return found
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

func mapsOf(t *testing.T, id ebpf.ProgramID) []ebpf.MapID {
	t.Helper()
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	maps, _ := info.MapIDs()
	return maps
}

// left lists which of the objects still exist.
func (i ids) left() (programs []ebpf.ProgramID, maps []ebpf.MapID, links []link.ID) {
	for _, id := range i.programs {
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			p.Close()
			programs = append(programs, id)
		}
	}
	for _, id := range i.maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			m.Close()
			maps = append(maps, id)
		}
	}
	for _, id := range i.links {
		if l, err := link.NewFromID(id); err == nil {
			l.Close()
			links = append(links, id)
		}
	}
	return programs, maps, links
}

func TestDetachLeavesNothing(t *testing.T) {
	for _, alive := range []bool{false, true} {
		w := newWorld(t, rewrite)
		found := idsOf(t, w.config.PinDir)
		if len(found.links) != 18 || len(found.programs) != 18 || len(found.maps) < 14 {
			t.Fatalf("attached: %+v, want 18 links and programs, 13 pinned maps and the constants", found)
		}
		if !alive {
			w.leave()
		}
		removed, err := Detach(w.config.PinDir)
		if err != nil || len(removed) != 18+13+1 {
			t.Errorf("detach removed %q, %v; want 18 links, 13 maps and a directory", removed, err)
		}
		if _, err := os.Stat(w.config.PinDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("directory after detach: %v", err)
		}
		if got := w.answer(w.cgroup, server4); !strings.HasPrefix(got, "direct") {
			t.Errorf("after detach: %q", got)
		}
		if alive {
			w.leave()
		}
		eventually(t, "the end of all programs, maps and links", func() bool { // the kernel frees them after a grace period
			programs, maps, links := found.left()
			return len(programs)+len(maps)+len(links) == 0
		})
		if removed, err := Detach(w.config.PinDir); err != nil || len(removed) != 0 {
			t.Errorf("second detach: %q, %v; want nothing", removed, err)
		}
	}
}

// TestTakeOver: a second process gets the links and maps of the first and gives them its programs.
func TestTakeOver(t *testing.T) { eachBackend(t, testTakeOver) }

func testTakeOver(t *testing.T, b backend) {
	w := newWorld(t, b)
	before := idsOf(t, w.config.PinDir)
	if _, err := Open(w.config); !errors.Is(err, ErrInUse) {
		t.Errorf("open while another holds it: %v, want %v", err, ErrInUse)
	}
	w.leave()
	w.relisten()
	w.config.Ports = []uint16{443, 5432}
	w.open()
	after := idsOf(t, w.config.PinDir)
	kept := 0
	for _, id := range after.links {
		if slices.Contains(before.links, id) {
			kept++
		}
	}
	if kept != len(after.links)-5 || len(after.links) != len(before.links) {
		t.Errorf("%d of %d links were kept, want all but the tracepoints", kept, len(after.links))
	}
	for _, id := range after.programs {
		if slices.Contains(before.programs, id) {
			t.Errorf("program %d is still the old one", id)
		}
	}
	for addr, want := range map[string]string{server4: "captured", server6: "captured", other4: "captured", "203.0.113.10:80": "connection refused"} {
		if got := w.answer(w.cgroup, addr); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", addr, got, want)
		}
	}
}

// TestTakeOverSevered: links that somebody has detached are made anew by the next process.
func TestTakeOverSevered(t *testing.T) {
	w := newWorld(t, rewrite)
	for _, hook := range []string{"connect4", "sockops", "getpeername4"} {
		w.sever(hook)
	}
	w.leave()
	w.relisten()
	w.open()
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("taken over: %q", got)
	}
	w.attached()
}

// attached fails the test for each hook that is not in force.
func (w *world) attached() {
	w.t.Helper()
	states, err := Hooks(w.config.PinDir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range states {
		if s.Err != nil {
			w.t.Errorf("%s: %v", s.Hook, s.Err)
		}
	}
}

// TestNamesOutliveTheInterceptor: a captured connection goes on telling the truth after its interceptor is gone.
func TestNamesOutliveTheInterceptor(t *testing.T) {
	w := newWorld(t, rewrite)
	got := w.runAround(w.leave,
		[]step{{Do: "socket"}, {Do: "connect", Addr: server4}, {Do: "read"}},
		[]step{{Do: "names"}})
	if names := got[len(got)-1]; names.Peer != server4 || !strings.HasPrefix(names.Local, "10.9.0.1:") {
		t.Errorf("after the interceptor: %+v", names)
	}
}

func TestUnknownLayout(t *testing.T) {
	w := newWorld(t, rewrite)
	var s outwardenState
	if err := w.capture.maps.State.Lookup(uint32(0), &s); err != nil {
		t.Fatal(err)
	}
	s.Layout++
	if err := w.capture.maps.State.Put(uint32(0), &s); err != nil {
		t.Fatal(err)
	}
	before := idsOf(t, w.config.PinDir)
	w.leave()
	if _, err := Open(w.config); !errors.Is(err, ErrLayout) {
		t.Errorf("open: %v, want %v", err, ErrLayout)
	}
	after := idsOf(t, w.config.PinDir)
	if !slices.Equal(before.programs, after.programs) || !slices.Equal(before.links, after.links) {
		t.Errorf("a refused open has changed %+v into %+v", before, after)
	}
}

// TestForeignPins: what another user made, or may change, is not taken over.
func TestForeignPins(t *testing.T) {
	w := newWorld(t, rewrite)
	before := idsOf(t, w.config.PinDir)
	w.leave()
	const nobody = 65534
	for name, give := range map[string]func() error{
		"owned by another":    func() error { return os.Chown(w.config.PinDir, nobody, 0) },
		"writable for others": func() error { return os.Chmod(w.config.PinDir, 0o777) },
	} {
		if err := give(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(w.config); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, want %v", name, err, ErrForeign)
		}
		if err := errors.Join(os.Chown(w.config.PinDir, 0, 0), os.Chmod(w.config.PinDir, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	if after := idsOf(t, w.config.PinDir); !slices.Equal(before.programs, after.programs) {
		t.Errorf("a refused open has changed %+v into %+v", before, after)
	}
	w.relisten()
	w.open()
}

// TestFailedOpenLeavesNothing: neither a directory nor half of one.
func TestFailedOpenLeavesNothing(t *testing.T) {
	w := newWorld(t, rewrite)
	config := w.config
	config.PinDir += "-failed"
	config.CgroupRoot = t.TempDir() // no cgroup: attaching fails half way
	if _, err := Open(config); err == nil {
		t.Fatal("opened at a directory that is no cgroup")
	}
	for _, dir := range []string{config.PinDir, config.PinDir + buildSuffix} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it not to exist", dir, err)
		}
	}
}

// TestHalfBuiltState: what a process that died in Open left, the next Open and Detach remove it.
func TestHalfBuiltState(t *testing.T) {
	w := newWorld(t, rewrite)
	half := w.config.PinDir + buildSuffix
	leave := func() {
		t.Helper()
		if err := os.Mkdir(half, 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := m.Pin(filepath.Join(half, "flows")); err != nil {
			t.Fatal(err)
		}
	}
	w.leave()
	if _, err := Detach(w.config.PinDir); err != nil {
		t.Fatal(err)
	}
	leave()
	w.relisten()
	w.open()
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after open: %v", err)
	}
	leave()
	if removed, err := Detach(w.config.PinDir); err != nil || !slices.Contains(removed, "map "+filepath.Join(half, "flows")) {
		t.Errorf("detach removed %q, %v", removed, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no listener":       func(c *Config) { c.Listen = nil },
		"not loopback":      func(c *Config) { c.Listen = addrPorts("192.0.2.1:15001") },
		"no port":           func(c *Config) { c.Listen = addrPorts("127.0.0.1:0") },
		"too many":          func(c *Config) { c.Listen = slices.Repeat(addrPorts("[::1]:15001"), MaxListeners+1) },
		"not on a bpffs":    func(c *Config) { c.PinDir = filepath.Join(t.TempDir(), "pins") },
		"directory of ours": func(c *Config) { c.PinDir = "" },
	} {
		c := Config{PinDir: bpffs + "/outwarden-test-refused", CgroupRoot: "/", OwnCgroup: 1, Listen: addrPorts("127.0.0.1:15001")}
		change(&c)
		if name == "directory of ours" {
			if err := c.complete(); err != nil || c.PinDir != DefaultPinDir || c.Mark != DefaultMark {
				t.Errorf("defaults: %+v, %v", c, err)
			}
			continue
		}
		if err := c.complete(); err != nil {
			continue
		}
		if err := mountBPF(filepath.Dir(c.PinDir)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
