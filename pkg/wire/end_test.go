package wire

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEndTravelsWithTheLastBytes: one packet has both, and after it nothing is
// written any more.
func TestEndTravelsWithTheLastBytes(t *testing.T) {
	c, peer := pair(t)
	c.Gather()
	for _, s := range []string{"last ", "words"} {
		_, err := c.Write([]byte(s))
		must(t, err)
	}
	before := c.packets(t)
	must(t, c.End())
	if n := c.packets(t) - before; n != 1 {
		t.Errorf("%d packets left, want one", n)
	}
	got, err := io.ReadAll(peer)
	if err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("something was written after the end")
	}
}

// TestEndWaitsForRoom: what the socket cannot take at once comes whole, and then
// the end.
func TestEndWaitsForRoom(t *testing.T) {
	c, peer := pair(t)
	must(t, c.tcp.SetWriteBuffer(4096))
	must(t, peer.SetReadBuffer(4096))
	c.Gather()
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 100<<10/16)
	_, err := c.Write(sent)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- c.End() }()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came of %d, %v", len(got), len(sent), err)
	}
	must(t, <-ended)
}

// TestEndOfNothing is CloseWrite; what is still to be read is.
func TestEndOfNothing(t *testing.T) {
	c, peer := pair(t)
	c.Gather()
	must(t, c.End())
	got, err := io.ReadAll(peer)
	if err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = peer.Write([]byte("x"))
	must(t, err)
	if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// packets is how many the kernel has sent on c.
func (c *Conn) packets(t *testing.T) uint32 {
	t.Helper()
	var info *unix.TCPInfo
	var failed error
	must(t, c.raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	must(t, failed)
	return info.Segs_out
}
