package capture

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// How much is measured: in a round each state of the kernel comes once, and in
// it each arm has one slice of this many operations, some milliseconds long.
// OUTWARDEN_COST_ROUNDS says otherwise how many rounds there are.
const (
	costRounds   = 150
	costConnects = 100
	costPackets  = 1000
)

type (
	// costState is what is attached while its arms are measured; no programs: as without Outwarden.
	costState struct {
		name     string
		programs []attachment
		arms     []arm
	}
	// arm is one workload that does one kind of slice.
	arm struct {
		name       string
		work       *worker
		do         slice
		redirected bool // every connection must have its record
	}
)

// BenchmarkCost tells what the hooks cost a workload, compared with the same
// work done without Outwarden. `make bench-capture` runs it once; the rounds
// are its own. All arms connect to one address that is this host's own, so the
// base is a connect() over loopback too, and out of scope the hooks go the
// whole way that a connect() to the internet takes.
//
//   - "connect" is that system call alone, on a processor of its own, while
//     nobody accepts: all that the kernel does in it at both ends, hooks
//     included, and nothing of what our user space does. It is the base at its
//     cheapest, so shares of it are the highest.
//   - "awaited connect" is the same with an acceptor that sleeps on another
//     processor, as a server's does: waking it is part of the system call.
//   - "connection" is the whole: socket, connect, accept, our look-up, close at
//     one end and at the other.
//   - "packet" is one small datagram.
//
// The programs are attached to the root and detached again in every round, so
// that what drifts meets all arms alike, and nothing of them is left in the
// base. One state has empty programs at the same hooks: less than they cost no
// capture can, as it is the kernel's calling them. Of the operations of a slice
// the first quartile counts; reported are the median over the rounds, that of the
// ratio to the base of the same round, and the interval in which this lies with a
// probability of 95 %.
func BenchmarkCost(b *testing.B) {
	c := newCost(b)
	reportOthers(b)
	for range c.rounds {
		for _, s := range c.states {
			c.in(s, func() {
				s.arms[0].work.slice(whole) // what attaching disturbed settles
				c.measure(s.arms)
			})
		}
	}
	c.report(b)
	c.reportPrograms(b)
	reportMemory(b, c.ends[0])
	b.ReportMetric(0, "ns/op") // of no meaning here
}

// cost is what is measured, and what came of it.
type cost struct {
	t      testing.TB
	rounds int
	states []costState
	ends   []*farEnd
	took   map[string][]float64 // nanoseconds an operation, by arm, a value a round
}

func newCost(b *testing.B) *cost {
	c := &cost{t: b, rounds: costRounds, took: map[string][]float64{}}
	if s := os.Getenv("OUTWARDEN_COST_ROUNDS"); s != "" {
		if _, err := fmt.Sscan(s, &c.rounds); err != nil {
			b.Fatal(err)
		}
	}
	outside, scoped, marked := netnstest.Cgroup(b), netnstest.Cgroup(b), netnstest.Cgroup(b)
	plain, nat := newFarEnd(b, rewrite), newFarEnd(b, nft)
	c.ends = []*farEnd{plain, nat}
	out, in, recorded, mark := plain.work(outside, server4), plain.work(scoped, server4), plain.work(scoped, other4), nat.work(marked, server4)
	hooks, natHooks := plain.programs(scoped), nat.programs(marked)
	c.states = []costState{
		{"none", nil, slices.Concat(
			connecting("no outwarden", out, false), connecting("nftables redirect alone", mark, false), []arm{{"packet, no outwarden", out, packets, false}})},
		{"empty", emptied(b, hooks), connecting("programs that do nothing", out, false)},
		{"rewrite", hooks, slices.Concat(
			connecting("out of scope", out, false), connecting("in scope, only recorded", recorded, false), connecting("in scope, redirected", in, true),
			[]arm{{"packet, out of scope", out, packets, false}, {"packet, in scope", in, packets, false}})},
		{"nft", natHooks, connecting("in scope, backend nft", mark, true)},
	}
	return c
}

// connecting are the arms of one workload that connects.
func connecting(how string, w *worker, redirected bool) []arm {
	return []arm{
		{"connect, " + how, w, connects, redirected}, {"awaited connect, " + how, w, awaited, redirected}, {"connection, " + how, w, whole, redirected},
	}
}

// in calls f while the programs of a state are attached.
func (c *cost) in(s costState, f func()) {
	c.t.Helper()
	detach := attachAll(c.t, s.programs)
	defer detach()
	f()
}

func (c *cost) measure(arms []arm) {
	c.t.Helper()
	for _, a := range arms {
		found := a.work.end.found
		c.took[a.name] = append(c.took[a.name], a.work.slice(a.do))
		if n := a.work.end.found - found; a.redirected && n != costConnects {
			c.t.Fatalf("%s: %d records of %d connections", a.name, n, costConnects)
		}
	}
}

// report prints for each arm its median, and how much more than the base it took.
func (c *cost) report(b *testing.B) {
	base := map[string][]float64{}
	for _, s := range c.states {
		for _, a := range s.arms {
			kind, _, _ := strings.Cut(a.name, ",")
			took := c.took[a.name]
			if base[kind] == nil {
				base[kind] = took
			}
			more, percent := make([]float64, len(took)), make([]float64, len(took))
			for i, t := range took {
				more[i], percent[i] = t-base[kind][i], 100*(t/base[kind][i]-1)
			}
			low, high := interval(percent)
			line := fmt.Sprintf("%-40s %7.0f ns %+6.0f ns %+6.1f %% (%+.1f to %+.1f)", a.name, quantile(took, 2), quantile(more, 2), quantile(percent, 2), low, high)
			if a.do == whole {
				line += fmt.Sprintf(", %.0f connections/s", 1e9/quantile(took, 2))
			}
			b.Log(line)
		}
	}
}

// reportOthers tells how much stands at our hooks beside us: it makes every arm dearer, the base too.
func reportOthers(b *testing.B) {
	b.Helper()
	others, err := attachmentsAt(netnstest.CgroupMount(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d programs that are not ours stand at these hooks of the root, in every arm", len(others))
}

// quantile is the value below which n quarters of all lie.
func quantile(values []float64, n int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)*n/4]
}

// interval is where the median lies with a probability of 95 %, however the values are spread.
func interval(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	off := 0.98 * math.Sqrt(n)
	return sorted[max(0, int(n/2-off))], sorted[min(len(sorted)-1, int(math.Ceil(n/2+off)))]
}
