package proxy

// SetSnapshot makes s the configuration of connections accepted from now on. Those
// that stand keep theirs, so they are asked to end when they can: workloads keep
// connections for days, and would go on by rules that are no more.
func (p *Proxy) SetSnapshot(s *Snapshot) {
	p.replace(s, func(*conn) bool { return true })
}

// Renew is SetSnapshot for one that has the routes of the one before, and only other
// secrets or certificates: it asks only connections that have to do with those. Who
// has other routes was asked before.
func (p *Proxy) Renew(s *Snapshot) {
	p.replace(s, func(c *conn) bool { return c.outdated(s) })
}

func (p *Proxy) replace(s *Snapshot, old func(*conn) bool) {
	p.snap.Store(s)
	p.each(func(c *conn) {
		if c.snap != s && !c.final.Load() && old(c) {
			c.drain()
		}
	})
}

// outdated reports whether any route that a request of the connection may take sends
// something else of ours by s. One that is not decided, or that names its host in each
// request, may take any.
func (c *conn) outdated(s *Snapshot) bool {
	changed := func(route int) bool { return !c.snap.Plans[route].sendsAs(&s.Plans[route]) }
	if routes := c.settled.Load(); routes != nil {
		return routes.Any(changed)
	}
	for i := range s.Plans {
		if changed(i) {
			return true
		}
	}
	return false
}

// sendsAs reports whether requests of both plans carry the same of ours.
func (p *Plan) sendsAs(other *Plan) bool {
	return p.Inject.Key() == other.Inject.Key() && p.Upstream.ID() == other.Upstream.ID()
}

// settle tells outdated which routes there are for the connection.
func (c *conn) settle() {
	if c.proto == protoTLS {
		c.settled.Store(&c.routes)
	}
}
