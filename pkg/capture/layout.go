package capture

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// layoutVersion counts up with every change of a pinned map; LAYOUT_VERSION in bpf/config.h.
const layoutVersion = 7

// checkLayout refuses pinned maps that another version made differently.
func checkLayout(dir string) error {
	refuse := func(why any) error {
		return fmt.Errorf("%s: %w (%v); outwarden detach removes it", dir, ErrLayout, why)
	}
	m, err := ebpf.LoadPinnedMap(layoutPath(dir), nil)
	if err != nil {
		return refuse(err)
	}
	defer m.Close()
	var s outwardenState
	if err := m.Lookup(uint32(0), &s); err != nil {
		return refuse(err)
	}
	if s.Layout != layoutVersion {
		return refuse(fmt.Sprintf("version %d, want %d", s.Layout, layoutVersion))
	}
	return nil
}

// writeLayout marks pinned maps as ours.
func writeLayout(state *ebpf.Map) error {
	var s outwardenState
	if err := state.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read the state: %v", err)
	}
	s.Layout = layoutVersion
	if err := state.Put(uint32(0), &s); err != nil {
		return fmt.Errorf("write the layout: %v", err)
	}
	return nil
}
