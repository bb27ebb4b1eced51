package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	settle = 50 * time.Millisecond // how long a burst of route changes may last before it is looked at
	rest   = 20                    // and how long nobody looks then, in times of what the look took
)

// feed keeps the kernel side's source addresses of one network namespace as
// its routing tables have them, so that getsockname tells a redirected socket
// the address it would have had.
type feed struct {
	cookie  uint64
	handle  *netlink.Handle
	using   sync.RWMutex // for writing while the handle is closed
	left    bool         // it is
	changes *nl.NetlinkSocket
	most    int // prefixes
	written map[outwardenRoute]bool
	closed  chan struct{}
	done    chan struct{} // closed when nothing is written any more
}

// feedRoutes starts the feed of the namespace that a socket is in, once. The
// first filling is done when it returns. c.tagging is held.
func (c *Capture) feedRoutes(fd int, cookie uint64) error {
	if c.feedOf(cookie) != nil {
		return nil
	}
	ns, err := netnsOfSocket(fd)
	if err != nil {
		return err
	}
	defer ns.Close()
	f, err := newFeed(ns, cookie)
	if err != nil {
		return fmt.Errorf("watch routes: %v", err)
	}
	if f.most = mostRoutesOfElse; c.home.Load() == 0 || c.home.Load() == cookie {
		f.most = mostRoutes
	}
	if f.written, err = c.takeLeft(cookie); err == nil {
		err = c.refresh(f)
	}
	if err != nil {
		f.close()
		f.handle.Close()
		return err
	}
	c.mu.Lock()
	c.feeds[cookie] = f
	c.mu.Unlock()
	changed := make(chan struct{}, 1)
	c.work.Go(func() { f.listen(changed) })
	c.work.Go(func() { c.follow(f, changed) })
	return nil
}

// feedOf is the feed of a namespace; nil if there is none.
func (c *Capture) feedOf(cookie uint64) *feed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.feeds[cookie]
}

func newFeed(ns netns.NsHandle, cookie uint64) (*feed, error) {
	if isOurs(ns) { // to enter another one takes CAP_SYS_ADMIN
		ns = netns.None()
	}
	changes, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		changes.Close()
		return nil, err
	}
	return &feed{cookie: cookie, handle: handle, changes: changes, closed: make(chan struct{}), done: make(chan struct{})}, nil
}

// isOurs reports whether we are in that network namespace anyhow.
func isOurs(ns netns.NsHandle) bool {
	ours, err := netns.Get()
	if err != nil {
		return false
	}
	defer ours.Close()
	return ours.Equal(ns)
}

// close ends the feed's goroutines; follow closes the handle.
func (f *feed) close() {
	close(f.closed)
	f.changes.Close()
}

// leave closes the handle.
func (f *feed) leave() {
	f.using.Lock()
	defer f.using.Unlock()
	f.left = true
	f.handle.Close()
}

// reaches asks the namespace's kernel for the way to an address.
func (f *feed) reaches(to netip.Addr) bool {
	f.using.RLock()
	defer f.using.RUnlock()
	if f.left {
		return false
	}
	_, ok := sourceFor(f.handle, to)
	return ok
}

// listen reports that something changed, whatever it was, until the feed is closed.
func (f *feed) listen(changed chan<- struct{}) {
	defer close(changed)
	for {
		_, _, err := f.changes.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) { // ENOBUFS: so much changed that some was lost
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// follow writes the routes anew after each burst of changes. When that fails
// the old ones stay until the next change. A namespace may belong to somebody
// who changes its routes all the time: it gets a small part of a processor.
func (c *Capture) follow(f *feed, changed <-chan struct{}) {
	defer close(f.done)
	defer f.leave()
	for range changed {
		f.pause(settle)
		began := time.Now()
		_ = c.refresh(f)
		f.pause(rest * time.Since(began))
	}
}

// pause waits, but not for longer than the feed is open.
func (f *feed) pause(d time.Duration) {
	select {
	case <-f.closed:
	case <-time.After(d):
	}
}

// refresh writes the source addresses of a namespace: first the new, then it removes the old.
func (c *Capture) refresh(f *feed) error {
	found, err := sources(f.handle, f.most)
	if err != nil {
		return fmt.Errorf("read routes: %v", err)
	}
	written := make(map[outwardenRoute]bool, len(found))
	for _, s := range found {
		key := toRoute(f.cookie, s.prefix)
		err := c.maps.Routes.Put(&key, toAddr(s.addr))
		if errors.Is(err, unix.ENOSPC) {
			break // getsockname tells what the kernel itself thinks, for longer prefixes
		}
		if err != nil {
			return fmt.Errorf("write route %s: %v", s.prefix, err)
		}
		written[key] = true
	}
	for key := range f.written {
		if !written[key] {
			_ = c.maps.Routes.Delete(&key) // gone already is as good
		}
	}
	f.written = written
	return nil
}

// LeaveNetns lets go of a network namespace whose listeners are closed. Until
// then the watch over its routes keeps it alive.
func (c *Capture) LeaveNetns(netns uint64) {
	c.open.RLock()
	defer c.open.RUnlock()
	if c.closed {
		return
	}
	c.mu.Lock()
	f := c.feeds[netns]
	delete(c.feeds, netns)
	c.mu.Unlock()
	if f == nil {
		return
	}
	f.close()
	<-f.done
	c.remove(f.written)
}

// takeLeft is what an earlier process has written about a namespace. All of it is
// listed once, as many namespaces may come at once. c.tagging is held.
func (c *Capture) takeLeft(netns uint64) (map[outwardenRoute]bool, error) {
	if c.left == nil {
		var err error
		if c.left, err = c.routes(); err != nil {
			return nil, err
		}
	}
	left := c.left[netns]
	delete(c.left, netns)
	return left, nil
}

// routes lists what is written, by namespace.
func (c *Capture) routes() (map[uint64]map[outwardenRoute]bool, error) {
	keys, err := keysOf[outwardenRoute](c.maps.Routes)
	if err != nil {
		return nil, err
	}
	of := map[uint64]map[outwardenRoute]bool{}
	for _, key := range keys {
		netns := uint64(key.Netns[0])<<32 | uint64(key.Netns[1])
		if of[netns] == nil {
			of[netns] = map[outwardenRoute]bool{}
		}
		of[netns][key] = true
	}
	return of, nil
}

// forgetRoutes removes what is written about namespaces in which we have no
// listener: an earlier process had, or it is gone.
func (c *Capture) forgetRoutes() {
	c.tagging.Lock()
	defer c.tagging.Unlock()
	of, err := c.routes()
	if err != nil {
		return // the map changed meanwhile; they go the next time
	}
	for netns, routes := range of {
		if c.feedOf(netns) == nil {
			c.remove(routes)
		}
	}
	c.left = map[uint64]map[outwardenRoute]bool{}
}

func (c *Capture) remove(routes map[outwardenRoute]bool) {
	for key := range routes {
		_ = c.maps.Routes.Delete(&key) // gone already is as good
	}
}
