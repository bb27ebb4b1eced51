package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/process"
)

const (
	retryAfter  = time.Second // a namespace in which no listener could be opened
	mostWaiting = 4096        // processes that announced a namespace; others do so at their next connect
	mostOfOne   = 64          // namespaces that one cgroup may have listeners in
)

var errMany = fmt.Errorf("its cgroup has listeners in %d network namespaces already", mostOfOne)

// namespaces gives each network namespace of workloads a set of listeners of
// its own, and takes it away when no process is left there. A namespace is
// announced by a process in scope that starts in it, or whose connect found no
// listener; until the listeners stand the fail policy answers. Listeners keep
// their namespace alive, so its end cannot be waited for: what is waited for is
// the end of one process in it after another.
type namespaces struct {
	listeners *listeners
	hooks     *capture.Capture
	processes *process.Resolver
	inScope   func(cgroup string) bool
	redirect  func(ns *os.File) (leave func(), err error) // what the backend needs there beside listeners
	keepSet   func(process.Netns, *set)                   // with the service manager, until letGo
	letGo     func(process.Netns)
	log       func(what string, err error)
	arrivals  chan flow.Flow // of which cgroup and caller count
	looks     chan struct{}  // holds a value when workloads are to be looked for
	keepers   sync.WaitGroup

	turn   sync.Mutex                  // one namespace comes or goes at a time
	failed map[process.Netns]time.Time // guarded by turn
	sets   map[process.Netns]*set      // open ones; guarded by turn

	mu    sync.Mutex
	known map[process.Netns]bool // our own too, which never goes
}

func (d *Daemon) openNamespaces(context.Context) error {
	home, err := process.OwnNetns()
	if err != nil {
		return err
	}
	d.namespaces = &namespaces{
		listeners: &d.listeners, hooks: d.capture, processes: d.processes, redirect: d.redirectIn, log: d.report,
		keepSet: d.storeSet, letGo: d.unstoreSet,
		inScope:  func(cgroup string) bool { return d.capture.Covers(cgroup) },
		arrivals: make(chan flow.Flow, mostWaiting), looks: make(chan struct{}, 1),
		failed: map[process.Netns]time.Time{}, sets: map[process.Netns]*set{}, known: map[process.Netns]bool{home: true},
	}
	d.namespaces.adopt(d.inherited.TakeOthers())
	return nil
}

// adopt takes over the sets of a daemon before us. What is of no use is let go of,
// and its namespace looked for anew: no workload can make of its own one a reason
// for us not to start.
func (n *namespaces) adopt(sockets map[process.Netns][]*net.TCPListener) {
	n.turn.Lock()
	defer n.turn.Unlock()
	for ns, ls := range sockets {
		s := &set{sockets: ls}
		if !n.takeOver(s) {
			n.drop(s)
			n.letGo(ns)
			continue
		}
		n.sets[ns] = s
		n.learn(ns)
	}
}

// started takes note of a process that executes a program. It does not block.
func (n *namespaces) started(f *flow.Flow) {
	ns, err := n.processes.Netns(f.Caller.PID)
	if err == nil && !n.knows(ns) {
		n.announce(f)
	}
}

// missed takes note of a connect that found no listener. It does not block.
func (n *namespaces) missed(f *flow.Flow) {
	if f.Reason == flow.ReasonListenerGone {
		n.announce(f)
	}
}

// takeOver reports whether a set that we were handed is of use. To one on other
// addresses than ours no hook leads.
func (n *namespaces) takeOver(s *set) bool {
	if slices.ContainsFunc(s.sockets, func(l *net.TCPListener) bool { return !n.listeners.home().has(addrOf(l)) }) {
		return false
	}
	file, err := process.OpenNetnsOf(s.sockets[0])
	if err == nil {
		err = errors.Join(n.equip(s, file), file.Close())
	}
	n.log("network namespace", err)
	return err == nil && n.listeners.add(s)
}

// equip does what else is needed in a namespace before connects are led to a set.
func (n *namespaces) equip(s *set, file *os.File) (err error) {
	if s.leave, err = n.redirect(file); err != nil {
		return err
	}
	return tag(n.hooks, s)
}

// drop undoes equip, and closes the set.
func (n *namespaces) drop(s *set) {
	s.close()
	if s.leave != nil {
		s.leave()
	}
	n.hooks.LeaveNetns(s.netns)
}

func (n *namespaces) announce(f *flow.Flow) {
	select {
	case n.arrivals <- *f:
	default:
	}
}

// look has workloads looked for that were there before they were in scope, or
// before us. It does not block.
func (n *namespaces) look() {
	select {
	case n.looks <- struct{}{}:
	default:
	}
}

// run opens and closes listeners until ctx ends; those that are open then stay.
func (n *namespaces) run(ctx context.Context) {
	defer n.keepers.Wait()
	n.keepAll(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-n.arrivals:
			n.log("network namespace", n.enter(ctx, &f))
		case <-n.looks:
			n.log("network namespaces", n.search(ctx))
		}
	}
}

// search enters the namespaces of all processes in scope.
func (n *namespaces) search(ctx context.Context) error {
	var found []uint32
	err := n.processes.Inhabitants(func(pid uint32, ns process.Netns) bool {
		if !n.knows(ns) && n.inScope(n.processes.CgroupOf(pid)) {
			found = append(found, pid)
		}
		return true
	})
	failed := []error{err}
	for _, pid := range found {
		if f, err := n.processes.Caller(pid); err == nil {
			failed = append(failed, n.enter(ctx, f))
		}
	}
	return errors.Join(failed...)
}

// enter opens listeners wherever a process is and none are. A process that has
// left meanwhile needs none.
func (n *namespaces) enter(ctx context.Context, f *flow.Flow) error {
	files, err := n.processes.OpenNetns(f.Caller.PID, f.Caller.Start, n.knows)
	if err != nil {
		return nil
	}
	var failed []error
	for _, ns := range files {
		failed = append(failed, n.open(ctx, ns, f.Cgroup), ns.Close())
	}
	return errors.Join(failed...)
}

// open gives a namespace its set of listeners, for a process in a cgroup.
func (n *namespaces) open(ctx context.Context, file *os.File, cgroup uint64) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	ns, err := process.NetnsOf(file)
	if err != nil || n.knows(ns) || time.Since(n.failed[ns]) < retryAfter {
		return err
	}
	if n.opened(cgroup) >= mostOfOne {
		n.fail(ns)
		return errMany
	}
	s, taken := listenIn(ctx, file, n.listeners.addrs(), n.hooks.Control)
	s.cgroup = cgroup
	if err := n.equip(s, file); err != nil || len(s.sockets) == 0 {
		n.drop(s)
		n.fail(ns)
		return errors.Join(taken, err)
	}
	if !n.listeners.add(s) { // all are closed
		n.drop(s)
		return taken
	}
	n.learn(ns)
	n.sets[ns] = s
	n.keepSet(ns, s)
	n.keepers.Go(func() { n.keep(ctx, ns, s) })
	return taken
}

// opened counts the sets that were opened for a cgroup.
func (n *namespaces) opened(cgroup uint64) (count int) {
	for _, s := range n.sets {
		if s.cgroup == cgroup {
			count++
		}
	}
	return count
}

// fail remembers a namespace that is not to be tried at every connect.
func (n *namespaces) fail(ns process.Netns) {
	if len(n.failed) >= mostWaiting {
		clear(n.failed)
	}
	n.failed[ns] = time.Now()
}

func (n *namespaces) knows(ns process.Netns) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[ns]
}

func (n *namespaces) learn(ns process.Netns) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[ns] = true
}

func (n *namespaces) forget(ns process.Netns) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, ns)
}
