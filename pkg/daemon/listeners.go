package daemon

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// set is the listeners of one network namespace.
type set struct {
	netns   uint64 // its cookie; zero until the listeners are tagged
	cgroup  uint64 // of the process that it was opened for; zero if that is not known
	sockets []*net.TCPListener
	leave   func() // of a set elsewhere: when its namespace goes

	made, ended sync.Once // of closed
	closed      chan struct{}
}

// gone is closed once the sockets are.
func (s *set) gone() <-chan struct{} {
	s.made.Do(func() { s.closed = make(chan struct{}) })
	return s.closed
}

// has reports whether one of them stands on that address.
func (s *set) has(a netip.AddrPort) bool {
	return slices.ContainsFunc(s.sockets, func(l *net.TCPListener) bool { return addrOf(l) == a })
}

// drain waits until nobody waits to be accepted: who connected and left at once
// has a record too. It waits no longer than the accepting may take.
func (s *set) drain() {
	const step, longest = 10 * time.Millisecond, 5 * time.Second
	for end := time.Now().Add(longest); slices.ContainsFunc(s.sockets, hasQueue) && time.Now().Before(end); {
		time.Sleep(step)
	}
}

// hasQueue reports whether a listener has a connection that is not accepted yet.
func hasQueue(l *net.TCPListener) (waiting bool) {
	rc, err := l.SyscallConn()
	if err != nil {
		return false
	}
	_ = rc.Control(func(fd uintptr) {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		waiting = n > 0
	})
	return waiting
}

func (s *set) close() {
	for _, l := range s.sockets {
		_ = l.Close()
	}
	s.gone()
	s.ended.Do(func() { close(s.closed) })
}

// listeners owns the sockets at which captured connections arrive: the home set
// in our own network namespace, and one in each other that workloads live in.
// All sets stand on the addresses of the home set, which the hooks have built
// in. Nobody else closes a socket that was added here.
type listeners struct {
	mu     sync.Mutex
	sets   []*set // home first
	accept func(l *net.TCPListener, s *set)
	work   sync.WaitGroup
	closed bool
}

// add takes a set over, and serves it if the others are served. Once the
// listeners are closed the set is too, and add reports false.
func (ls *listeners) add(s *set) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		s.close()
		return false
	}
	ls.sets = append(ls.sets, s)
	if ls.accept != nil {
		ls.start(s)
	}
	return true
}

// serve has every set accepted from now on, also those that come later. accept
// returns when its listener is closed.
func (ls *listeners) serve(accept func(l *net.TCPListener, s *set)) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.accept = accept
	for _, s := range ls.sets {
		ls.start(s)
	}
}

func (ls *listeners) start(s *set) {
	for _, l := range s.sockets {
		ls.work.Go(func() { ls.accept(l, s) })
	}
}

// remove closes a set and forgets it.
func (ls *listeners) remove(s *set) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	s.close()
	ls.sets = slices.DeleteFunc(ls.sets, func(other *set) bool { return other == s })
}

// close closes every set.
func (ls *listeners) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.closed = true
	for _, s := range ls.sets {
		s.close()
	}
}

// wait returns when nothing is accepted any more; close comes first.
func (ls *listeners) wait() { ls.work.Wait() }

// home is the set in our own network namespace.
func (ls *listeners) home() *set {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.sets[0]
}

// others counts the sets beside the home set.
func (ls *listeners) others() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return max(len(ls.sets)-1, 0)
}

// all are the sockets of every set.
func (ls *listeners) all() (all []*net.TCPListener) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, s := range ls.sets {
		all = append(all, s.sockets...)
	}
	return all
}

// addrs are where every set listens.
func (ls *listeners) addrs() []netip.AddrPort {
	home := ls.home()
	addrs := make([]netip.AddrPort, len(home.sockets))
	for i, l := range home.sockets {
		addrs[i] = addrOf(l)
	}
	return addrs
}

func addrOf(l *net.TCPListener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }
