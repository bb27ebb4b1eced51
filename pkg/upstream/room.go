package upstream

// Whoever connects chooses the hosts, so a full pool must not stay with who
// filled it: the newest takes the place of another, which costs that one no more
// than a dial. Map order is random enough to choose by.

// looks is how many buckets are looked at for something to give up.
const looks = 64

// bucket returns the bucket of a key and makes it if need be; nil if there are
// too many in use. p.mu is held.
func (p *Pool) bucket(k bucketKey) *bucket {
	if b := p.buckets[k]; b != nil {
		return b
	}
	if len(p.buckets) >= p.o.Limits.Keys && !p.evict((*bucket).empty) && !p.evict((*bucket).unused) {
		return nil
	}
	b := new(bucket)
	p.buckets[k] = b
	return b
}

// homeOf returns the bucket of a connection, as bucket does. p.mu is held.
func (p *Pool) homeOf(c *Conn) *bucket {
	if c.home == nil || c.home.dropped {
		c.home = p.bucket(c.bucketKey())
	}
	return c.home
}

// drop forgets an empty bucket. p.mu is held.
func (p *Pool) drop(k bucketKey, b *bucket) {
	b.dropped = true
	delete(p.buckets, k)
}

// evict drops one bucket of a kind. What is in it must be unused.
func (p *Pool) evict(kind func(*bucket) bool) bool {
	tries := looks
	for k, b := range p.buckets {
		if kind(b) {
			unused := b.clear()
			p.idle -= len(unused)
			p.evicted = append(p.evicted, unused...)
			p.drop(k, b)
			return true
		}
		if tries--; tries == 0 {
			break
		}
	}
	return false
}

// mayRest reports whether one more connection that nobody uses may be kept, and gives
// up another's place for it if need be. p.mu is held.
func (p *Pool) mayRest() bool { return p.idle < p.o.Limits.Idle || p.makeRoom() }

// makeRoom gives up a connection of some bucket that nobody uses. p.mu is held.
func (p *Pool) makeRoom() bool {
	tries := looks
	for _, b := range p.buckets {
		if c := b.rests(); c != nil {
			b.remove(c)
			c.state = spent
			p.idle--
			p.evicted = append(p.evicted, c)
			return true
		}
		if tries--; tries == 0 {
			break
		}
	}
	return false
}

// takeEvicted returns what the caller is to shut once it has let go of p.mu.
func (p *Pool) takeEvicted() []*Conn {
	out := p.evicted
	p.evicted = nil
	return out
}

func (b *bucket) empty() bool { return len(b.idle) == 0 && len(b.shared) == 0 && b.flight == nil }

// unused reports whether nobody waits for, or speaks on, anything in b.
func (b *bucket) unused() bool {
	for _, c := range b.shared {
		if c.streams > 0 {
			return false
		}
	}
	return b.flight == nil
}

func shutAll(conns []*Conn) {
	for _, c := range conns {
		c.shut()
	}
}
