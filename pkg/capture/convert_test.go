package capture

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/quick"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// anyAddr is an address of either family.
func anyAddr(b [16]byte, ipv4 bool) netip.Addr {
	if ipv4 {
		return netip.AddrFrom4([4]byte(b[:]))
	}
	return netip.AddrFrom16(b)
}

// always checks a property for a hundred random arguments. It is not rapid's, for
// every workload is this binary, and starting that would take a third of its time.
func always(t *testing.T, property any) {
	t.Helper()
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// TestAddrRoundTrip: an address comes back as it was, mapped ones as IPv4, and is
// one key in either form.
func TestAddrRoundTrip(t *testing.T) {
	always(t, func(b [16]byte, ipv4 bool) bool {
		a := anyAddr(b, ipv4)
		return fromAddr(toAddr(a)) == a.Unmap() && toAddr(netip.AddrFrom16(a.As16())) == toAddr(a)
	})
}

func TestToFlow(t *testing.T) {
	booted := time.Unix(1000, 0)
	f := outwardenFlow{
		Cookie: 1, Netns: 2, Cgroup: 3, At: uint64(5 * time.Second), Start: uint64(4 * time.Second), ExeInode: 6,
		ExeDev: 259<<20 | 70000, Pid: 7, Uid: 8, Gid: 9, Original: toAddr(netip.MustParseAddr("192.0.2.1")), OriginalPort: 443,
		Verdict: 2, Reason: 1,
	}
	copy(f.Comm[:], "curl\x00rest")
	want := flow.Flow{
		Cookie: 1, Netns: 2, Cgroup: 3, At: time.Unix(1005, 0), Verdict: flow.VerdictDeny, Reason: flow.ReasonListenerGone,
		Original: netip.MustParseAddrPort("192.0.2.1:443"),
		Caller:   flow.Caller{PID: 7, Start: 4 * time.Second, UID: 8, GID: 9, Comm: "curl", Exe: flow.ExeID{Dev: unix.Mkdev(259, 70000), Inode: 6}},
	}
	if got := toFlow(&f, booted); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	f.Comm = [16]uint8([]byte("sixteen-letters-"))
	if got := toFlow(&f, booted).Caller.Comm; got != "sixteen-letters-" {
		t.Errorf("comm without an end: %q", got)
	}
}

// TestToDevice: what stat(2) shows for a file is what the kernel's number for it turns into.
func TestToDevice(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var s unix.Stat_t
	if err := unix.Stat(self, &s); err != nil {
		t.Fatal(err)
	}
	for _, dev := range []uint64{s.Dev, unix.Mkdev(8, 1), unix.Mkdev(4095, 1<<20-1), unix.Mkdev(0, 300)} {
		if got := toDevice(unix.Major(dev)<<20 | unix.Minor(dev)); got != dev {
			t.Errorf("device %#x came back as %#x", dev, got)
		}
	}
}

func TestEventOfWrongSize(t *testing.T) {
	for _, n := range []int{0, 1, 119} {
		if e, err := toEvent(make([]byte, n)); err == nil {
			t.Errorf("%d bytes decode to %+v", n, e)
		}
	}
	if e, err := toEvent(slices.Concat(make([]byte, 112), []byte{3, 0, 0, 0, 0, 0, 0, 0})); err != nil || e.Kind != EventExec {
		t.Errorf("120 bytes decode to %+v, %v", e, err)
	}
}
