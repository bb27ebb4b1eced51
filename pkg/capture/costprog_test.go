package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachment is a program and the cgroup where it stands.
type attachment struct {
	cgroup  string
	at      ebpf.AttachType
	program *ebpf.Program
}

// takeAttached detaches what a capture attached to cgroups and gives it, with a
// tree in the place of the root. Tracepoints, which have no part in a connection, stay.
func takeAttached(t testing.TB, c *Capture, tree string) (all []attachment) {
	t.Helper()
	take := func(l link.Link, dir string) {
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		at := info.Cgroup()
		if at == nil {
			return
		}
		program, err := ebpf.NewProgramFromID(info.Program)
		if err = errors.Join(err, l.Detach()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { program.Close() })
		all = append(all, attachment{dir, ebpf.AttachType(at.AttachType), program})
	}
	for _, l := range c.links {
		take(l, tree)
	}
	for id, l := range c.fences {
		take(l, c.scopes[id].dir)
	}
	return all
}

// attachAll attaches programs until the benchmark ends.
func attachAll(t testing.TB, all []attachment) {
	t.Helper()
	for _, a := range all {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: a.cgroup, Attach: a.at, Program: a.program})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(l.Detach(), l.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// reportPrograms tells how often each program runs for an operation, and what a
// run takes by the kernel's own clock, less what reading that clock takes: the
// run of a program that does nothing, in the same kind of slice, as one does
// not cost the same after sleep.
func (c *cost) reportPrograms(b *testing.B) {
	b.Helper()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	clock := c.clock()
	b.Logf("the programs, in nanoseconds a run, less the clock's %.0f, awaited %.0f:", clock[connects], clock[awaited])
	for _, t := range c.trees {
		for _, a := range t.arms {
			if t.programs != nil && a.do != whole {
				b.Log(describeRuns(t.programs, countRuns(t.programs, a), a, clock[a.do]))
			}
		}
	}
}

// clock is the nanoseconds that a program seems to run which does nothing, by
// kind of slice. It is one of sockops, as that runs for a connection as often as ours.
func (c *cost) clock() map[slice]float64 {
	each := map[slice]float64{}
	for _, t := range c.trees {
		for i, p := range t.programs {
			if !t.idle || p.at != ebpf.AttachCGroupSockOps {
				continue
			}
			for _, a := range t.arms[:2] {
				each[a.do] = countRuns(t.programs, a)[i].each
			}
		}
	}
	each[packets] = each[connects]
	return each
}

// emptied are programs that do nothing, at the hooks where those of another far end are.
func emptied(b *testing.B, all []attachment, of, at *farEnd) (empty []attachment) {
	b.Helper()
	for _, a := range all {
		where := at.tree
		if a.cgroup == of.scoped {
			where = at.scoped
		}
		empty = append(empty, emptyProgram(b, where, a.program.Type(), a.at))
	}
	return empty
}

func emptyProgram(b *testing.B, cgroup string, kind ebpf.ProgramType, at ebpf.AttachType) attachment {
	b.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: kind, AttachType: at, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return attachment{cgroup, at, p}
}

// runs is how often a program ran for one operation, and the nanoseconds of a run.
type runs struct{ count, each float64 }

func countRuns(programs []attachment, a arm) (all []runs) {
	const slices = 30
	t := a.work.end.w.t
	t.Helper()
	operations := float64(slices * costConnects)
	if a.do == packets {
		operations = slices * costPackets
	}
	read := func() (stats []ebpf.ProgramStats) {
		for _, p := range programs {
			s, err := p.program.Stats()
			if err != nil {
				t.Fatal(err)
			}
			stats = append(stats, *s)
		}
		return stats
	}
	before := read()
	for range slices {
		a.work.slice(a.do)
	}
	for i, after := range read() {
		n := float64(after.RunCount - before[i].RunCount)
		all = append(all, runs{n / operations, float64(after.Runtime-before[i].Runtime) / max(n, 1)})
	}
	return all
}

func describeRuns(programs []attachment, all []runs, a arm, clock float64) string {
	text := fmt.Sprintf("%-32s", a.name)
	for i, r := range all {
		if r.count > 0.1 { // not those of the host's other traffic
			text += fmt.Sprintf(" %s %.0f x %.0f", programs[i].at, r.count, max(0, r.each-clock))
		}
	}
	return text
}

// reportMemory tells what a tracked connection holds, by the growth of what the
// kernel cannot reclaim when many sockets get their storage, and many records
// come: heads, rounding and all.
func reportMemory(b *testing.B, e *farEnd) {
	const chunks, n = 5, 3000
	fds := manySockets(b, chunks*n)
	storage := growth(b, chunks, n, func(i int) error {
		return e.w.capture.maps.Sockets.Put(uint32(fds[i]), outwardenSocket{})
	})
	record := growth(b, chunks, n, func(i int) error {
		return e.w.capture.maps.Flows.Put(outwardenTuple{Netns: uint64(i)}, outwardenFlow{})
	})
	b.Logf("a tracked connection holds %.0f bytes beside its socket, and until it is accepted %.0f of record", storage, record)
}

func manySockets(b *testing.B, n int) (fds []int) {
	b.Helper()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			b.Fatal(err)
		}
		fds = append(fds, fd)
	}
	b.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	return fds
}

// growth is how many bytes the kernel took for one addition: the median of some
// chunks of them, as others use memory too.
func growth(b *testing.B, chunks, n int, add func(int) error) float64 {
	b.Helper()
	var each []float64
	for chunk := range chunks {
		before := unreclaimable(b)
		for i := range n {
			if err := add(chunk*n + i); err != nil {
				b.Fatal(err)
			}
		}
		each = append(each, float64(unreclaimable(b)-before)/float64(n))
	}
	return quantile(each, 2)
}

// unreclaimable is the kernel's slab memory that is in use, in bytes.
func unreclaimable(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var kB int64
		if n, _ := fmt.Sscanf(string(line), "SUnreclaim: %d kB", &kB); n == 1 {
			return kB << 10
		}
	}
	b.Fatal("no SUnreclaim in /proc/meminfo")
	return 0
}
