package capture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// How much is measured: in a round each arm has one slice of this many operations,
// some milliseconds long. OUTWARDEN_COST_ROUNDS says otherwise how many rounds there are.
const (
	costRounds   = 600
	costConnects = 25
	costPackets  = 400
)

type (
	// tree is a cgroup with programs of its own and what is measured beneath it;
	// no programs: as without Outwarden.
	tree struct {
		end      *farEnd
		programs []attachment
		idle     bool // they do nothing
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
// are its own. All arms connect to one address that is their host's own, so the
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
// The programs stand at a cgroup of many, where the product has them at the root, with
// both ends of its arms beneath. So all arms take turns within milliseconds, and nothing
// is attached meanwhile, which costs whoever runs next more than any hook does. What a
// kernel without a single program would save the base is a branch at each hook. Two
// arms say what the figures are worth: the base once more, which is another workload in
// another cgroup and is to cost nothing, and empty programs at the same hooks: less than
// they no capture can cost, as it is the kernel's calling them.
//
// Of the operations of a slice the first quartile counts; reported are the median over
// the rounds, that of the ratio to the base of the same round, and the interval in
// which this lies with a probability of 95 %.
func BenchmarkCost(b *testing.B) {
	c := newCost(b)
	reportOthers(b)
	arms := c.arms()
	for range c.rounds {
		rand.Shuffle(len(arms), func(i, j int) { arms[i], arms[j] = arms[j], arms[i] }) // an arm feels who ran before it
		for _, a := range arms {
			c.measure(a)
		}
	}
	c.report(b)
	c.reportPrograms(b)
	reportMemory(b, c.trees[0].end)
	b.ReportMetric(0, "ns/op") // of no meaning here
}

// cost is what is measured, and what came of it.
type cost struct {
	t      testing.TB
	rounds int
	trees  []tree
	took   map[string][]float64 // nanoseconds an operation, by arm, a value a round
}

func newCost(b *testing.B) *cost {
	c := &cost{t: b, rounds: costRounds, took: map[string][]float64{}}
	if s := os.Getenv("OUTWARDEN_COST_ROUNDS"); s != "" {
		if _, err := fmt.Sscan(s, &c.rounds); err != nil {
			b.Fatal(err)
		}
	}
	none, again, redirect := newFarEnd(b, rewrite), newFarEnd(b, rewrite), newFarEnd(b, nft).bare()
	empty, plain, nat := newFarEnd(b, rewrite), newFarEnd(b, rewrite), newFarEnd(b, nft)
	hooks, natHooks := plain.capture(), nat.capture()
	out, in := plain.work(plain.outside, server4), plain.work(plain.scoped, server4)
	recorded, bare := plain.work(plain.scoped, other4), none.work(none.outside, server4)
	c.trees = []tree{
		{plain, hooks, false, slices.Concat(
			connecting("out of scope", out, false), connecting("in scope, only recorded", recorded, false), connecting("in scope, redirected", in, true),
			[]arm{{"packet, out of scope", out, packets, false}, {"packet, in scope", in, packets, false}})},
		{none, nil, false, append(connecting("no outwarden", bare, false), arm{"packet, no outwarden", bare, packets, false})},
		{again, nil, false, connecting("no outwarden, once more", again.work(again.outside, server4), false)},
		{redirect, nil, false, connecting("nftables redirect alone", redirect.work(redirect.outside, server4), false)},
		{empty, emptied(b, hooks, plain, empty), true, connecting("programs that do nothing", empty.work(empty.outside, server4), false)},
		{nat, natHooks, false, connecting("in scope, backend nft", nat.work(nat.scoped, server4), true)},
	}
	for _, t := range c.trees {
		attachAll(b, t.programs)
	}
	return c
}

// connecting are the arms of one workload that connects.
func connecting(how string, w *worker, redirected bool) []arm {
	return []arm{
		{"connect, " + how, w, connects, redirected}, {"awaited connect, " + how, w, awaited, redirected}, {"connection, " + how, w, whole, redirected},
	}
}

func (c *cost) arms() (all []arm) {
	for _, t := range c.trees {
		all = append(all, t.arms...)
	}
	return all
}

func (c *cost) measure(a arm) {
	c.t.Helper()
	found := a.work.end.found
	c.took[a.name] = append(c.took[a.name], a.work.slice(a.do))
	if n := a.work.end.found - found; a.redirected && n != costConnects {
		c.t.Fatalf("%s: %d records of %d connections", a.name, n, costConnects)
	}
}

// report prints for each arm its median, and how much more than the base it took.
func (c *cost) report(b *testing.B) {
	for _, a := range c.arms() {
		kind, _, _ := strings.Cut(a.name, ",")
		took, base := c.took[a.name], c.took[kind+", no outwarden"]
		more, percent := make([]float64, len(took)), make([]float64, len(took))
		for i, t := range took {
			more[i], percent[i] = t-base[i], 100*(t/base[i]-1)
		}
		low, high := interval(percent)
		line := fmt.Sprintf("%-40s %7.0f ns %+6.0f ns %+6.1f %% (%+.1f to %+.1f)", a.name, quantile(took, 2), quantile(more, 2), quantile(percent, 2), low, high)
		if a.do == whole {
			line += fmt.Sprintf(", %.0f connections/s", 1e9/quantile(took, 2))
		}
		b.Log(line)
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
