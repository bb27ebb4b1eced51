package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// fakeProc is a directory that looks like /proc, to stage what the kernel does
// only now and then.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) fakeProc { return fakeProc{t, t.TempDir()} }

// process makes /proc/PID, over the one that had the pid before.
func (p fakeProc) process(pid, ppid uint32, start uint64, state, exe string, argv ...string) {
	p.t.Helper()
	dir := filepath.Join(p.root, fmt.Sprint(pid))
	os.RemoveAll(dir)
	must(p.t, os.Mkdir(dir, 0o755))
	line := fmt.Sprintf("%d (a) b) %s %d%s", pid, state, ppid, strings.Replace(statTail, "12345", fmt.Sprint(start), 1))
	must(p.t, os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o644))
	must(p.t, os.WriteFile(filepath.Join(dir, "cmdline"), []byte(strings.Join(argv, "\x00")+"\x00"), 0o644))
	must(p.t, os.Symlink(exe, filepath.Join(dir, "exe")))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program makes an executable file and returns its path and identity.
func program(t testing.TB, name, contents string) (string, flow.ExeID) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(contents), 0o755))
	return path, exeID(t, path)
}

func exeID(t testing.TB, path string) flow.ExeID {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return exeIDOf(&st)
}

const (
	helloSHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"
	worldSHA256 = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7" // of "world"
)

// caller is a flow of pid 7 that began at tick 100.
func caller(exe flow.ExeID) *flow.Flow {
	return &flow.Flow{Caller: flow.Caller{PID: 7, Start: 100*tick + 3*time.Millisecond, UID: 0, Exe: exe}}
}

func wantUnknown(t *testing.T, id *Identity) {
	t.Helper()
	if id.Exe != "" || id.ExeInside != "" || id.ExeSHA256 != "" || id.Argv != nil {
		t.Errorf("claims to know exe %q, inside %q, digest %q, argv %q", id.Exe, id.ExeInside, id.ExeSHA256, id.Argv)
	}
}

func wantKnown(t *testing.T, id *Identity, exe, sum string, argv ...string) {
	t.Helper()
	if id.Exe != exe || id.ExeSHA256 != sum || !slices.Equal(id.Argv, argv) {
		t.Errorf("got exe %q, digest %q, argv %q; want %q, %q, %q", id.Exe, id.ExeSHA256, id.Argv, exe, sum, argv)
	}
}

func TestReusedPidIsGone(t *testing.T) {
	p := newFakeProc(t)
	exe, id := program(t, "hello", "hello")
	r := NewResolver(Options{Proc: p.root})
	for _, start := range []uint64{99, 101, 5000} {
		p.process(7, 1, start, "S", exe, "hello")
		got, err := r.Resolve(caller(id))
		if !errors.Is(err, flow.ReasonIdentityGone) || !got.Gone || got.Parents != nil {
			t.Errorf("start %d: got %+v, %v", start, got, err)
		}
		wantUnknown(t, got)
	}
	p.process(7, 1, 100, "S", exe, "hello") // the true one: nothing of the others was remembered
	got, err := r.Resolve(caller(id))
	if err != nil || got.Gone {
		t.Errorf("the process itself: %v", err)
	}
	wantKnown(t, got, exe, helloSHA256, "hello")
}

func TestGoneKeepsTheKernelsWord(t *testing.T) {
	boot := time.Unix(1_700_000_000, 0)
	r := NewResolver(Options{Proc: t.TempDir(), Boot: boot})
	got, err := r.Resolve(caller(flow.ExeID{Dev: 1, Inode: 2}))
	if !errors.Is(err, flow.ReasonIdentityGone) {
		t.Errorf("got error %v", err)
	}
	if got.PID != 7 || got.UID != 0 || got.User != "root" || !got.Start.Equal(boot.Add(time.Second)) {
		t.Errorf("got %s", got.JSON())
	}
}

func TestZombieIsGone(t *testing.T) {
	p := newFakeProc(t)
	exe, id := program(t, "hello", "hello")
	p.process(7, 1, 100, "Z", exe)
	if _, err := NewResolver(Options{Proc: p.root}).Resolve(caller(id)); !errors.Is(err, flow.ReasonIdentityGone) {
		t.Errorf("got %v", err)
	}
}

func TestExecAfterConnectIsUnknown(t *testing.T) {
	p := newFakeProc(t)
	_, hello := program(t, "hello", "hello")
	world, _ := program(t, "world", "world")
	p.process(7, 1, 100, "S", world, "world")
	r := NewResolver(Options{Proc: p.root})
	for range 2 {
		got, err := r.Resolve(caller(hello))
		if err != nil || got.Gone {
			t.Errorf("it is the same process: %v", err)
		}
		wantUnknown(t, got)
	}
}

func TestKernelDidNotTellTheExecutable(t *testing.T) {
	p := newFakeProc(t)
	exe, _ := program(t, "hello", "hello")
	p.process(7, 1, 100, "S", exe, "hello")
	r := NewResolver(Options{Proc: p.root})
	r.Executed(7, 100*tick)
	got, err := r.Resolve(caller(flow.ExeID{}))
	if err != nil {
		t.Error(err)
	}
	wantUnknown(t, got)
}

func TestExecEventIsRemembered(t *testing.T) {
	p := newFakeProc(t)
	hello, helloID := program(t, "hello", "hello")
	world, worldID := program(t, "world", "world")
	r := NewResolver(Options{Proc: p.root})
	start := caller(helloID).Caller.Start

	p.process(7, 1, 100, "S", hello, "hello", "-x")
	r.Executed(7, start)
	p.process(7, 1, 100, "S", world, "world") // exec between connect and here
	r.Executed(7, start)
	got, err := r.Resolve(caller(helloID))
	if err != nil {
		t.Fatal(err)
	}
	wantKnown(t, got, hello, helloSHA256, "hello", "-x")
	got, err = r.Resolve(caller(worldID))
	if err != nil {
		t.Fatal(err)
	}
	wantKnown(t, got, world, worldSHA256, "world")

	must(t, os.RemoveAll(filepath.Join(p.root, "7"))) // it left, but its exit event is not here yet
	got, err = r.Resolve(caller(helloID))
	if !errors.Is(err, flow.ReasonIdentityGone) {
		t.Errorf("got %v", err)
	}
	wantKnown(t, got, hello, helloSHA256, "hello", "-x")

	other := caller(helloID)
	other.Caller.Start += tick // another process with that pid
	got, _ = r.Resolve(other)
	wantUnknown(t, got)

	r.Exited(7, start)
	got, _ = r.Resolve(caller(helloID))
	wantUnknown(t, got)
}

func TestRememberedDigestNeedsTheSameFile(t *testing.T) {
	p := newFakeProc(t)
	hello, id := program(t, "hello", "hello")
	p.process(7, 1, 100, "S", hello, "hello")
	r := NewResolver(Options{Proc: p.root})
	r.Executed(7, caller(id).Caller.Start)
	must(t, os.RemoveAll(filepath.Join(p.root, "7")))
	must(t, os.WriteFile(hello, []byte("HELLO"), 0o755)) // same inode, other bytes
	got, _ := r.Resolve(caller(id))
	wantKnown(t, got, hello, "", "hello")
}

func TestParentsAreCertain(t *testing.T) {
	p := newFakeProc(t)
	exe, id := program(t, "hello", "hello")
	p.process(7, 6, 100, "S", exe)
	p.process(6, 5, 100, "S", exe) // the same tick as its child
	p.process(5, 4, 50, "S", exe)
	p.process(4, 3, 60, "S", exe) // began after its child: 4 was reused
	p.process(3, 0, 1, "S", exe)
	got, err := NewResolver(Options{Proc: p.root}).Resolve(caller(id))
	must(t, err)
	if want := []Parent{{6, exe}, {5, exe}}; !slices.Equal(got.Parents, want) {
		t.Errorf("got %v, want %v", got.Parents, want)
	}
}

func TestParentsAreBounded(t *testing.T) {
	p := newFakeProc(t)
	exe, id := program(t, "hello", "hello")
	p.process(7, 20, 100, "S", exe)
	for pid := uint32(20); pid < 60; pid++ {
		p.process(pid, pid+1, 10, "S", exe)
	}
	p.process(60, 60, 10, "S", exe) // its own parent, as no kernel would say
	got, err := NewResolver(Options{Proc: p.root}).Resolve(caller(id))
	must(t, err)
	if len(got.Parents) != MaxParents {
		t.Errorf("%d parents, want %d", len(got.Parents), MaxParents)
	}
}

func TestExeInAnotherNamespaceIsNotAPath(t *testing.T) {
	exe, id := program(t, "hello", "hello")
	must(t, os.WriteFile(exe+".new", []byte("world"), 0o755))
	must(t, os.Rename(exe+".new", exe)) // another file stands at the path
	elsewhere := func() (bool, error) { return false, nil }
	if got, ok, _ := believable(exe, id, elsewhere); ok {
		t.Errorf("took %q for the path of another file", got)
	}
	for text, want := range map[string]string{"/memfd:/opt/trusted (deleted)": "memfd:/opt/trusted", "(unreachable)/x": ""} {
		if got, ok, _ := believable(text, id, elsewhere); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v", text, got, ok)
		}
	}
}
