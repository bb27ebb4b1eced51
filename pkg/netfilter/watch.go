package netfilter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	lookEvery = 2 * time.Second       // should a change ever go unreported
	atMost    = 20 * time.Millisecond // between two looks, while others are busy with tables of their own
)

// nftablesGroup is NFNLGRP_NFTABLES: all changes of all tables.
const nftablesGroup = 7

// Restored is a change by somebody else that was undone, or was not.
type Restored struct {
	What string // what was found
	Err  error  // nil: all is in place again
}

// Watch puts the table back whenever somebody else has changed it or taken it
// away, and the policy rules and routes with it, until ctx ends; it returns the
// cause then. It calls changed for each time that it did, and for the first of
// several failures in a row.
func (t *Table) Watch(ctx context.Context, changed func(Restored)) error {
	sockets, err := t.subscribe()
	if err != nil {
		return err
	}
	events := make(chan struct{}, 1)
	var work sync.WaitGroup
	for _, s := range sockets {
		work.Go(func() { listen(s, events) })
	}
	defer work.Wait()
	defer closeAll(sockets)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	pause := time.NewTicker(atMost)
	defer pause.Stop()
	for {
		if r, found := t.restore(); found {
			changed(r)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-events:
		case <-tick.C:
		}
	}
}

// subscribe asks for all changes of nftables, rules and routes.
func (t *Table) subscribe() ([]*nl.NetlinkSocket, error) {
	nft, err := nl.SubscribeAt(t.ns, netns.None(), unix.NETLINK_NETFILTER, nftablesGroup)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %v", err)
	}
	routes, err := nl.SubscribeAt(t.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		nft.Close()
		return nil, fmt.Errorf("watch rules and routes: %v", err)
	}
	return []*nl.NetlinkSocket{nft, routes}, nil
}

func closeAll(sockets []*nl.NetlinkSocket) {
	for _, s := range sockets {
		s.Close()
	}
}

// listen reports that something changed, whatever it was, until s is closed.
func listen(s *nl.NetlinkSocket, events chan<- struct{}) {
	for {
		_, _, err := s.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) { // ENOBUFS: so much changed that some was lost
			return
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}

// Hold makes Watch let changes be: another process may be about to take the table
// over. Where that came to nothing, Hold(false) puts at once in place what it
// changed, which is nobody's attack and not reported.
func (t *Table) Hold(on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = on
	if on {
		return nil
	}
	if what, _ := t.compare(); what == "" {
		return nil
	}
	err := t.place()
	if err == nil {
		t.forget()
	}
	return err
}

// restore looks, and puts in place what is not.
func (t *Table) restore() (r Restored, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		return r, false
	}
	what, intact := t.compare()
	if what == "" {
		t.health.Intact = t.health.Intact || intact
		return r, false
	}
	failing := t.health.Failed != nil
	err := t.place()
	if err == nil {
		t.forget()
		t.health.Restored++
		t.health.Changed = time.Now()
	}
	return Restored{what, err}, err == nil || !failing
}

// compare says what differs from what was put in place. A look can fail because
// somebody writes at the same moment, so it is taken twice; where we lack descriptors
// or memory for it nothing differs, but nothing is intact either. t.mu is held.
func (t *Table) compare() (what string, intact bool) {
	for range 2 {
		now, err := t.look()
		switch {
		case errors.Is(err, errAbsent):
			return err.Error(), false
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
			return "", false
		case err != nil:
			what = err.Error()
		case !now.routed:
			what = "a policy rule or the route is gone"
		case now.equal(&t.seen):
			return "", true
		default:
			what = "the table was changed"
		}
	}
	return what, false
}
