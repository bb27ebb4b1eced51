package upstream

import (
	"slices"
	"time"
)

// bucketKey adds to a Key what Target says beside it: a clear text connection
// never stands in for a verified one.
type bucketKey struct {
	Key
	cleartext bool
}

func (c *Conn) bucketKey() bucketKey { return bucketKey{c.Facts.Key, c.Facts.TLS == 0} }

// bucket holds what the pool knows of one Key. Guarded by Pool.mu.
type bucket struct {
	idle    []*Conn // HTTP/1, the most recently used last
	shared  []*Conn // h2, usable or not
	memory  []choice
	flight  *flight // a dial that is expected to become a shared connection
	dropped bool    // the pool has it no more
}

// choice is what the upstream chose of what it was offered.
type choice struct {
	offered []string
	alpn    string
	at      time.Duration // Pool.now
}

// maxChoices bounds the memory of one bucket: workloads decide what is offered.
const maxChoices = 8

// pop returns the youngest idle connection that an offer of alpn may have led to.
func (b *bucket) pop(alpn []string) *Conn {
	for i := len(b.idle) - 1; i >= 0; i-- {
		c := b.idle[i]
		if !offers(alpn, c.Facts.ALPN) {
			continue
		}
		copy(b.idle[i:], b.idle[i+1:])
		b.idle[len(b.idle)-1] = nil
		b.idle = b.idle[:len(b.idle)-1]
		c.state = busy
		return c
	}
	return nil
}

// offers reports whether a connection that speaks proto serves who offers alpn.
// No ALPN at all means HTTP/1.1 (RFC 7301 section 3.2 leaves it to the default),
// on either side: an upstream that chose nothing of "http/1.1" may well choose
// h2 if that is offered.
func offers(alpn []string, proto string) bool {
	const plain = "http/1.1"
	if proto == "" || proto == plain {
		return len(alpn) == 0 || slices.Contains(alpn, plain)
	}
	return slices.Contains(alpn, proto)
}

// rests returns a connection that nobody uses, of HTTP/1 the one unused for the longest;
// or nil.
func (b *bucket) rests() *Conn {
	if len(b.idle) > 0 {
		return b.idle[0]
	}
	if i := slices.IndexFunc(b.shared, func(c *Conn) bool { return c.streams == 0 }); i >= 0 {
		return b.shared[i]
	}
	return nil
}

func (b *bucket) remove(c *Conn) {
	if c.h2 != nil {
		b.shared = slices.DeleteFunc(b.shared, func(other *Conn) bool { return other == c })
		return
	}
	if i := slices.Index(b.idle, c); i >= 0 {
		b.idle = slices.Delete(b.idle, i, i+1)
	}
}

// clear empties the bucket and returns the connections that nobody uses.
func (b *bucket) clear() []*Conn {
	unused := b.idle
	for _, c := range b.shared {
		if c.streams == 0 {
			unused = append(unused, c)
		}
	}
	for _, c := range unused {
		c.state = spent
	}
	b.idle, b.shared = nil, nil
	return unused
}

func (b *bucket) protocol(offered []string, oldest time.Duration) (string, bool) {
	for _, m := range b.memory {
		if m.at > oldest && slices.Equal(m.offered, offered) {
			return m.alpn, true
		}
	}
	return "", false
}

// remember notes a choice, in the place of an older one for the same offer.
func (b *bucket) remember(offered []string, alpn string, now time.Duration) {
	i := slices.IndexFunc(b.memory, func(m choice) bool { return slices.Equal(m.offered, offered) })
	if i < 0 && len(b.memory) >= maxChoices {
		i = 0
	}
	if i >= 0 {
		b.memory = slices.Delete(b.memory, i, i+1)
	}
	b.memory = append(b.memory, choice{slices.Clone(offered), alpn, now})
}

// sweepLater arms the one timer of the pool. p.mu is held.
func (p *Pool) sweepLater() {
	if p.sweeper == nil && !p.closed {
		p.sweeper = time.AfterFunc(p.sweepEvery(), p.sweep)
	}
}

func (p *Pool) sweepEvery() time.Duration { return max(p.o.Timeouts.Idle/4, 10*time.Millisecond) }

// sweep closes what was idle for too long or was closed by its peer, and forgets
// stale buckets.
func (p *Pool) sweep() {
	now := p.now()
	p.mu.Lock()
	var old []*Conn
	for k, b := range p.buckets {
		gone := b.expire(now - p.o.Timeouts.Idle)
		p.idle -= len(gone)
		old = append(old, gone...)
		if b.empty() && b.forget(now-p.o.Timeouts.ALPN) {
			p.drop(k, b)
		}
	}
	p.sweeper = nil
	if len(p.buckets) > 0 {
		p.sweepLater()
	}
	p.mu.Unlock()
	shutAll(old)
}

// Part ends the connections that were one's alone (Key.Apart), who is gone, and
// forgets him. What is in use ends as others do.
func (p *Pool) Part(apart uint64) {
	now := p.now()
	p.mu.Lock()
	var old []*Conn
	for k, b := range p.buckets {
		if k.Apart != apart {
			continue
		}
		gone := b.expire(now)
		p.idle -= len(gone)
		old = append(old, gone...)
		if b.empty() {
			p.drop(k, b)
		}
	}
	p.mu.Unlock()
	shutAll(old)
}

// expire removes connections unused since oldest and closed ones.
func (b *bucket) expire(oldest time.Duration) (old []*Conn) {
	gone := func(c *Conn) bool {
		if c.h2 == nil {
			return c.since < oldest || c.wire.HungUp()
		}
		return c.streams == 0 && (c.since < oldest || !c.h2.Alive())
	}
	for _, list := range []*[]*Conn{&b.idle, &b.shared} {
		*list = slices.DeleteFunc(*list, func(c *Conn) bool {
			if !gone(c) {
				return false
			}
			c.state = spent
			old = append(old, c)
			return true
		})
	}
	return old
}

// forget drops choices made before oldest and reports whether none is left.
func (b *bucket) forget(oldest time.Duration) bool {
	b.memory = slices.DeleteFunc(b.memory, func(m choice) bool { return m.at < oldest })
	return len(b.memory) == 0
}
