package capture

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestProbe: what nothing works without is there, for the other tests have it;
// of the rest the report says what this kernel lacks.
func TestProbe(t *testing.T) {
	netnstest.RequireRoot(t)
	list := Probe()
	if len(list) < len(hooks(&outwardenPrograms{})) {
		t.Fatalf("%d features", len(list))
	}
	for _, f := range list {
		switch {
		case f.Err == nil:
		case f.Without == "":
			t.Errorf("%s: %v", f.Name, f.Err)
		default:
			netnstest.Refused(t, f.Name+"; so "+f.Without, f.Err)
		}
	}
}

// TestProbeSaysNo: a hook that no kernel has is not there.
func TestProbeSaysNo(t *testing.T) {
	netnstest.RequireRoot(t)
	const none = ebpf.AttachType(250)
	if err := probeHook(none); err == nil {
		t.Errorf("hook %d is said to be there", none)
	}
}
