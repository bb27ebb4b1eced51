package daemon

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// set is the listeners of one network namespace.
type set struct {
	netns   uint64 // its cookie; zero until the listeners are tagged
	sockets []*net.TCPListener
}

// has reports whether one of them stands on that address.
func (s *set) has(a netip.AddrPort) bool {
	return slices.ContainsFunc(s.sockets, func(l *net.TCPListener) bool { return addrOf(l) == a })
}

func (s *set) close() {
	for _, l := range s.sockets {
		_ = l.Close()
	}
}

// listeners owns the sockets at which captured connections arrive: the home set
// in our own network namespace, and one in each other that workloads live in.
// All sets stand on the addresses of the home set, which the hooks have built
// in. Nobody else closes a socket that was added here.
type listeners struct {
	mu     sync.Mutex
	sets   []*set // home first
	accept func(l *net.TCPListener, netns uint64)
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
func (ls *listeners) serve(accept func(l *net.TCPListener, netns uint64)) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.accept = accept
	for _, s := range ls.sets {
		ls.start(s)
	}
}

func (ls *listeners) start(s *set) {
	for _, l := range s.sockets {
		ls.work.Go(func() { ls.accept(l, s.netns) })
	}
}

// remove closes the set of a network namespace.
func (ls *listeners) remove(netns uint64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.sets = slices.DeleteFunc(ls.sets, func(s *set) bool {
		if s.netns == netns {
			s.close()
		}
		return s.netns == netns
	})
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
