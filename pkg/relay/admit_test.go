package relay

import (
	"net"
	"testing"
)

// TestOpenFails: of a door that cannot be opened nothing is kept.
func TestOpenFails(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := New(1)
	defer r.Close()
	if _, err := r.Open(l); err != nil {
		t.Fatal(err)
	}
	if d, err := r.Open(l); err == nil || d != nil {
		t.Errorf("a second door of the same listener in one loop: %v, %v", d, err)
	}
	if n := len(r.loops[0].doors); n != 1 {
		t.Errorf("%d doors are kept, want 1", n)
	}
}
