package dns

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// maxFlights bounds lookups under way. Each has two sockets for as long as the servers
// take, up to maxLookup, and UDP ports are what a whole host has 28,000 of.
const maxFlights = 512

// flights are the lookups under way, one for a name. Who asks may have as many of them
// as are left for all others, and then waits for its own: alone it has half, and who
// comes new finds room.
type flights struct {
	mu     sync.Mutex
	under  map[string]*flight
	held   int
	askers map[uint64]*asker // who has flights, or waits for one
}

// flight is one lookup. What came of it stands there once done is closed.
type flight struct {
	done  chan struct{}
	entry entry
	err   error
}

type asker struct {
	held    int
	waiting list.List // of *ticket, the first comes next
}

// ticket is a lookup that waits for its turn. It gets its flight by turn.
type ticket struct {
	name    string
	resolve func() (entry, error)
	turn    chan *flight
	place   *list.Element // in its asker's queue; nil: it has had its turn
}

// do resolves a name, or waits for who does so already.
func (f *flights) do(ctx context.Context, who uint64, name string, resolve func() (entry, error)) (entry, error) {
	t := &ticket{name: name, resolve: resolve, turn: make(chan *flight, 1)}
	f.enter(who, t)
	select {
	case flight := <-t.turn:
		select {
		case <-flight.done:
			return flight.entry, flight.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
		f.leave(who, t)
	}
	return entry{}, fmt.Errorf("look up %s: %w", name, ctx.Err())
}

func (f *flights) enter(who uint64, t *ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under == nil {
		f.under, f.askers = make(map[string]*flight), make(map[uint64]*asker)
	}
	if known := f.under[t.name]; known != nil {
		t.turn <- known
		return
	}
	a := f.askers[who]
	if a == nil {
		a = new(asker)
		f.askers[who] = a
	}
	t.place = a.waiting.PushBack(t)
	f.serve(who, a)
}

// serve begins what an asker may begin of what it waits for, and forgets one that has
// nothing here any more. f.mu is held.
func (f *flights) serve(who uint64, a *asker) {
	for a.waiting.Len() > 0 {
		t := a.waiting.Front().Value.(*ticket)
		known := f.under[t.name]
		if known == nil && a.held >= maxFlights-f.held {
			return
		}
		if known == nil {
			known = f.begin(a, t)
		}
		a.waiting.Remove(t.place)
		t.place = nil
		t.turn <- known
	}
	if a.held == 0 {
		delete(f.askers, who)
	}
}

func (f *flights) begin(a *asker, t *ticket) *flight {
	begun := &flight{done: make(chan struct{})}
	f.under[t.name] = begun
	a.held++
	f.held++
	go func() {
		begun.entry, begun.err = t.resolve()
		f.end(a, t.name)
		close(begun.done)
	}()
	return begun
}

// end gives the place to who waits, whoever that is.
func (f *flights) end(a *asker, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.under, name)
	a.held--
	f.held--
	for who, a := range f.askers {
		f.serve(who, a)
	}
}

// leave gives a place in the queue up.
func (f *flights) leave(who uint64, t *ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.place == nil {
		return
	}
	a := f.askers[who]
	a.waiting.Remove(t.place)
	f.serve(who, a)
}
