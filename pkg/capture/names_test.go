package capture

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// later are cgroups that are made after their names were said, with what
// workloads in them see, and the names.
type later struct {
	*world
	want             map[string]string // by directory
	long             string            // its name is too long for the kernel side
	include, exclude Names
}

// newLater names cgroups below w.outside, and a unit.
func newLater(w *world) *later {
	base := filepath.Base(w.outside)
	slice := filepath.Join(netnstest.CgroupMount(w.t), base+".slice")
	unit := base + ".service"
	below := func(parts ...string) string { return filepath.Join(w.outside, filepath.Join(parts...)) }
	l := &later{world: w, long: below(strings.Repeat("long", 60))}
	l.include = Names{Paths: []string{below("named"), l.long}, Units: []string{unit}}
	l.exclude = Names{Paths: []string{strings.TrimPrefix(below("named", "exempt"), netnstest.CgroupMount(w.t))}} // without the mount
	l.want = map[string]string{
		below("name"):                         "direct",
		below("named"):                        "captured",
		below("named", "below"):               "captured",
		below("named", "exempt"):              "direct",
		below(unit):                           "direct", // not among slices
		l.long:                                "direct", // until SetScope finds it
		slice:                                 "direct",
		filepath.Join(slice, unit):            "captured",
		filepath.Join(slice, unit+"2"):        "direct",
		filepath.Join(slice, "a.slice"):       "direct",
		filepath.Join(slice, "a.slice", unit): "captured",
	}
	return l
}

// make makes the cgroups until the test ends.
func (l *later) make() {
	l.t.Helper()
	for _, dir := range slices.Sorted(maps.Keys(l.want)) {
		netnstest.Subgroup(l.t, filepath.Dir(dir), filepath.Base(dir))
	}
}

// remake puts another cgroup in the place of each.
func (l *later) remake() {
	l.t.Helper()
	dirs := slices.Sorted(maps.Keys(l.want))
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *later) check(when string) {
	l.t.Helper()
	for dir, want := range l.want {
		if got := l.answer(dir, server4); !strings.HasPrefix(got, want) {
			l.t.Errorf("%s, %s: %q, want %s", when, dir, got, want)
		}
	}
}

func (l *later) set(include, exclude Names) {
	l.t.Helper()
	if changed, err := l.capture.SetScope(include, exclude); err != nil || !changed {
		l.t.Fatalf("set scope: changed %v, %v", changed, err)
	}
}

// TestMadeLater: what names say of cgroups holds from the first process on, by
// the same rule whether the kernel side sees one made or SetScope finds it.
func TestMadeLater(t *testing.T) { eachBackend(t, testMadeLater) }

func testMadeLater(t *testing.T, b backend) {
	l := newLater(newWorld(t, b))
	l.set(l.include, l.exclude)
	l.make()
	l.check("the kernel side alone")
	l.want[l.long] = "captured"
	l.set(l.include, l.exclude)
	l.check("after another look")
	if changed, err := l.capture.SetScope(l.include, l.exclude); changed || err != nil {
		t.Errorf("nothing is new: changed %v, %v", changed, err)
	}
	l.covers()
	for dir := range l.want {
		l.want[dir] = "direct"
	}
	l.set(Names{}, Names{})
	l.check("forgotten")
	l.remake()
	l.check("forgotten, and made again")
}

// covers compares what Covers and Scope say with what workloads see.
func (l *later) covers() {
	l.t.Helper()
	included, excluded := l.capture.Scope()
	if len(included) != 4 || len(excluded) != 1 || !slices.Contains(included, l.long) {
		l.t.Errorf("included %v, excluded %v", included, excluded)
	}
	for dir, want := range l.want {
		if got := l.capture.Covers(strings.TrimPrefix(dir, netnstest.CgroupMount(l.t))); got != (want == "captured") {
			l.t.Errorf("%s is covered: %v, want %s", dir, got, want)
		}
	}
}

// TestMadeWithoutUs: a unit that starts while the interceptor is dead gets what
// the fail policy says, as one that ran before does.
func TestMadeWithoutUs(t *testing.T) { eachBackend(t, testMadeWithoutUs) }

func testMadeWithoutUs(t *testing.T, b backend) {
	l := newLater(newWorld(t, b))
	l.set(l.include, l.exclude)
	l.leave()
	l.make()
	for dir, want := range l.want {
		if want == "captured" {
			l.want[dir] = refused
		}
	}
	l.check("dead")
	l.remake()
	l.check("dead, and made again")
}

// TestMadeMeanwhile: SetScope does not forget a cgroup that is made while it looks.
func TestMadeMeanwhile(t *testing.T) {
	w := newWorld(t, rewrite)
	named := filepath.Join(w.outside, "named")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		var failed error
		for i := 0; ctx.Err() == nil; i++ { // what changes is beside
			_, err := w.capture.SetScope(Names{Paths: [][]string{{named}, {named, w.cgroup}}[i%2]}, Names{})
			failed = errors.Join(failed, err)
		}
		done <- failed
	}()
	for range 50 {
		netnstest.Subgroup(t, w.outside, "named")
		if got := w.answer(named, server4); !strings.HasPrefix(got, "captured") {
			t.Errorf("%q, want captured", got)
		}
		if err := os.Remove(named); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCoveredByNearest: the nearest of a cgroup and its ancestors that is named decides.
func TestCoveredByNearest(t *testing.T) {
	c := &Capture{config: Config{CgroupRoot: "/m"}, scopes: map[uint64]scope{
		1: {"/m/pods", scopeInclude}, 2: {"/m/pods/ours", scopeExclude}, 3: {"/m/pods/ours/guest", scopeInclude},
	}}
	for cgroup, want := range map[string]bool{
		"/pods": true, "/pods/a/b": true, "/pods/ours": false, "/pods/ours/x": false, "/pods/ours/guest/y": true,
		"/podsX": false, "/": false, "": false,
	} {
		if got := c.Covers(cgroup); got != want {
			t.Errorf("%q is covered: %v, want %v", cgroup, got, want)
		}
	}
	c.scopes[4] = scope{"/m", scopeInclude}
	if !c.Covers("/") || !c.Covers("/anything/else") || c.Covers("/pods/ours/x") {
		t.Error("a scope of everything is not everything but what is exempt")
	}
}

// TestScopeWithoutDescriptors: who cannot look for units leaves them in scope.
func TestScopeWithoutDescriptors(t *testing.T) {
	l := newLater(newWorld(t, rewrite))
	l.set(l.include, l.exclude)
	l.make()
	l.want[l.long] = "captured"
	l.set(l.include, l.exclude)
	var changed bool
	var err error
	withoutDescriptors(t, func() { changed, err = l.capture.SetScope(l.include, l.exclude) })
	if changed || !errors.Is(err, unix.EMFILE) {
		t.Errorf("changed %v, %v", changed, err)
	}
	l.check("without descriptors")
}
