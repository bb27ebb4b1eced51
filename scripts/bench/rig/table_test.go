package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/table.*")

// TestTable compares by rounds: the host was half as fast in the second.
func TestTable(t *testing.T) {
	p := &plan{pin: true, rounds: 2}
	p.works = []workload{keepAlive(), atRate(), firstCall(p), idle(&plan{idle: []int{5000}}, 0)}
	all := []sample{
		{Round: 1, Peer: "outwarden", Work: "a", N: 1000, Seconds: 1, Proxy: 40000, Client: 20000, In: 65},
		{Round: 1, Peer: "nginx", Work: "a", N: 1000, Seconds: 1, Proxy: 50000, Client: 20000, In: 65},
		{Round: 1, Peer: "fasthttp", Work: "a", N: 1000, Seconds: 1, Proxy: 45000, Client: 20000, In: 65, Up: 10},
		{Round: 2, Peer: "outwarden", Work: "a", N: 1000, Seconds: 1, Proxy: 80000, Client: 40000, In: 65, Foreign: 500000},
		{Round: 2, Peer: "nginx", Work: "a", N: 1000, Seconds: 1, Proxy: 100000, Client: 40000, In: 65},
		{Round: 1, Peer: "direct", Work: "f", N: 500, Seconds: 1, P50: 100, P99: 1000},
		{Round: 1, Peer: "outwarden", Work: "f", N: 500, Seconds: 1, P50: 300, P99: 1500},
		{Round: 1, Peer: "nginx", Work: "f", N: 500, Seconds: 1, P50: 350, P99: 1400},
		{Round: 1, Peer: "outwarden", Work: "h", N: 40, Seconds: 1, P50: 1500, Second: 300},
		{Round: 1, Peer: "outwarden", Work: "e1", N: 5000, Seconds: 1, Before: 10e6, Held: 75e6},
	}
	// Without the conditions, which differ.
	_, b, _ := strings.Cut(table(p, all), "\n\n")
	compare(t, "testdata/table.txt", b)
	b, _, _ = strings.Cut(markdown(p, all), "\n\n")
	compare(t, "testdata/table.md", b+"\n")
}

// compare wants what is in a file.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestChoices: every workload and peer can be asked for by its name, and what
// does not exist is told.
func TestChoices(t *testing.T) {
	p, err := parse([]string{"-work", "g,a", "-peers", "nginx,outwarden"})
	if err != nil {
		t.Fatal(err)
	}
	if got := keys(p.works); cmp.Diff([]string{"a", "g"}, got) != "" {
		t.Errorf("workloads %v", got)
	}
	if got := names(p.peers); cmp.Diff([]string{"outwarden", "nginx"}, got) != "" {
		t.Errorf("peers %v", got)
	}
	if _, err := parse([]string{"-work", "zz"}); err == nil || !strings.Contains(err.Error(), "zz") {
		t.Errorf("a workload that does not exist: %v", err)
	}
}

// TestShortForm: every workload runs with the product, and every peer runs.
func TestShortForm(t *testing.T) {
	p, err := parse([]string{"-short"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, w := range p.works {
		taking := names(p.taking(w))
		if !strings.Contains(strings.Join(taking, " "), product) {
			t.Errorf("(%s) without the product", w.key)
		}
		for _, name := range taking {
			seen[name] = true
		}
	}
	for _, name := range names(allPeers()) {
		if !seen[name] {
			t.Errorf("%s never runs", name)
		}
	}
}

// TestGrowth compares with the first value in the same round.
func TestGrowth(t *testing.T) {
	works := growth()
	p := &plan{pin: true, rounds: 2, grow: true, works: works[:2]}
	all := []sample{
		{Round: 1, Peer: "outwarden", Work: works[0].key, N: 1000, Seconds: 1, Proxy: 40000, P50: 300, Held: 20e6},
		{Round: 1, Peer: "nginx", Work: works[0].key, N: 1000, Seconds: 1, Proxy: 50000, P50: 300, Held: 20e6},
		{Round: 1, Peer: "outwarden", Work: works[1].key, N: 1000, Seconds: 1, Proxy: 44000, P50: 600, Held: 30e6},
		{Round: 1, Peer: "nginx", Work: works[1].key, N: 1000, Seconds: 1, Proxy: 60000, P50: 700, Held: 20e6},
		{Round: 2, Peer: "outwarden", Work: works[0].key, N: 1000, Seconds: 2, Proxy: 80000, P50: 400, Held: 20e6},
		{Round: 2, Peer: "outwarden", Work: works[1].key, N: 1000, Seconds: 2, Proxy: 88000, P50: 700, Held: 30e6},
	}
	_, b, _ := strings.Cut(p.render(all), "\n\n")
	compare(t, "testdata/growth.txt", b)
	p.paste = true
	b, _, _ = strings.Cut(p.render(all), "\n\n")
	compare(t, "testdata/growth.md", b+"\n")
}

// TestVerdict tells how many rounds agree, and by whom it was disturbed.
func TestVerdict(t *testing.T) {
	costs := func(peer string, costs ...int64) (s []sample) {
		for i, c := range costs {
			s = append(s, sample{Round: i + 1, Peer: peer, Work: "a", N: 1, Seconds: 1, Proxy: c})
		}
		return s
	}
	w := keepAlive()
	for _, c := range []struct {
		ours, theirs []sample
		foreign      int64
		want         string
	}{
		{costs(product, 8, 8, 8), costs("nginx", 10, 10, 10), 0, "0.8 x nginx, the best peer; goal 0.9 x nginx: reached at 0.8"},
		{costs(product, 8, 8, 12), costs("nginx", 10, 10, 10), 0, "0.8 x nginx, the best peer; goal 0.9 x nginx: reached (in 2 of 3 rounds) at 0.8 (0.8 to 1.2)"},
		{costs(product, 12, 8, 12), costs("nginx", 10, 10, 10), 0, "1.2 x nginx, the best peer; goal 0.9 x nginx: MISSED (in 2 of 3 rounds) at 1.2 (0.8 to 1.2)"},
		{costs(product, 8), costs("nginx", 10), 3e5, "DISTURBED: others used 30% of a core meanwhile; 0.8 x nginx, the best peer; goal 0.9 x nginx: reached at 0.8"},
		{nil, costs("nginx", 10), 0, "outwarden did not take part"},
		{costs(product, 8), nil, 0, ""},
	} {
		all := append(c.ours, c.theirs...)
		for i := range all {
			all[i].Foreign = c.foreign
		}
		if got := newRow("a", w.figures[0], all).verdict().String(); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}
