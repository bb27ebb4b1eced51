package wire

// Hold has what is written kept until Release, but not while c's own reader waits:
// then it leaves before, and nothing is kept any more. It is for who writes,
// perhaps reads on, and writes more at once. It belongs to the reader.
func (c *Conn) Hold() {
	c.holds = true
	c.Gather()
}

// readHolding reads, and ends the hold before it waits.
func (c *Conn) readHolding(p []byte) (int, error) {
	k := &c.call
	if k.hold == nil {
		k.hold = c.readOrRelease
	}
	return k.read(c.raw, p, k.hold)
}

// readOrRelease reports false where the socket has nothing yet.
func (c *Conn) readOrRelease(fd uintptr) bool {
	k := &c.call
	if k.readSome(fd) {
		return true
	}
	c.holds = false
	k.flaw = c.Release()
	return k.flaw != nil
}
