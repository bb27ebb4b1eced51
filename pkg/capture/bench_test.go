package capture

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// BenchmarkLookup is what an accept costs here, and what publishing the record
// costs the hook and the system call that stands for it: they come in pairs,
// since a record is given out once.
func BenchmarkLookup(b *testing.B) {
	netnstest.RequireRoot(b)
	if err := rlimit.RemoveMemlock(); err != nil {
		b.Fatal(err)
	}
	spec, err := loadOutwarden()
	if err != nil {
		b.Fatal(err)
	}
	flows := spec.Maps[outwardenMapFlows]
	flows.Pinning = ebpf.PinNone
	m, err := ebpf.NewMap(flows)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	c := &Capture{maps: outwardenMaps{Flows: m}}
	local, remote := netip.MustParseAddrPort("127.0.0.1:15001"), netip.MustParseAddrPort("127.0.0.1:40000")
	key, record := toTuple(0, local, remote), outwardenFlow{}
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Put(&key, &record); err != nil {
			b.Fatal(err)
		}
		if _, ok := c.Lookup(local, remote); !ok {
			b.Fatal("no record")
		}
	}
}
