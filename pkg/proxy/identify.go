package proxy

// identify tells who called connect(), while the client waits. A process that
// is already gone leaves what the kernel saw; routes that ask for more do not
// match it then.
func (c *conn) identify() {
	if c.flow.Guest || c.process != nil {
		return // nobody here is it, or it was known before
	}
	id, err := c.p.o.Processes.Resolve(&c.flow)
	if err != nil {
		c.p.o.OnDefect(err)
	}
	c.process = id
}
