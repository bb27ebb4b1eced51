package capture

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Open loads the programs and attaches them at the root cgroup, or, where an
// earlier process left pinned state, takes it over: maps and links stay, the
// links get the new programs, and nothing is uncaptured in between. Until the
// listeners are tagged the fail policy answers. On an error nothing stays
// behind that was not there. The caller closes the Capture.
//
// A directory that another process holds is ErrInUse, unless that hands its lock
// over in Config.Held; then both use it until either closes. One of an unknown
// layout is ErrLayout, and one that others may change ErrForeign.
func Open(config Config) (_ *Capture, err error) {
	defer func() {
		if err != nil && config.Held != nil {
			_ = config.Held.Close()
		}
	}()
	if err := config.complete(); err != nil {
		return nil, err
	}
	// Before 5.11 maps count against RLIMIT_MEMLOCK, and the default is too low.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the memlock limit: %v", err)
	}
	parent, err := lockParent(config.PinDir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	c := &Capture{config: config, feeds: map[uint64]*feed{}, scopes: map[uint64]scope{}, fences: map[uint64]link.Link{}, seen: map[uint64]bool{}}
	if err := c.attach(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.work.Go(func() { c.sweep(ctx) })
	return c, nil
}

// complete checks a configuration and fills in what was left out.
func (c *Config) complete() error {
	if c.PinDir == "" {
		c.PinDir = DefaultPinDir
	}
	if c.Mark == 0 {
		c.Mark = DefaultMark
	}
	var err error
	if c.CgroupRoot == "" {
		if c.CgroupRoot, err = cgroupMount(); err != nil {
			return err
		}
	}
	if c.OwnCgroup == 0 {
		if c.OwnCgroup, err = ownCgroup(c.CgroupRoot); err != nil {
			return err
		}
	}
	ipv4, ipv6 := c.listeners()
	if len(c.Listen) == 0 || len(ipv4) > MaxListeners || len(ipv6) > MaxListeners {
		return fmt.Errorf("%d listeners: want 1 to %d for each address family", len(c.Listen), MaxListeners)
	}
	for _, l := range c.Listen {
		if !l.Addr().IsLoopback() || l.Port() == 0 {
			return fmt.Errorf("listener %s: want a loopback address and a port", l)
		}
	}
	return nil
}

// listeners parts the listeners by address family.
func (c *Config) listeners() (ipv4, ipv6 []netip.AddrPort) {
	for _, l := range c.Listen {
		if l.Addr().Unmap().Is4() {
			ipv4 = append(ipv4, l)
		} else {
			ipv6 = append(ipv6, l)
		}
	}
	return ipv4, ipv6
}

// spec is the object with the configuration built in.
func (c *Config) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadOutwarden()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %v", err)
	}
	ipv4, ipv6 := c.listeners()
	for name, value := range map[string]any{
		"own_cgroup":     c.OwnCgroup,
		"own_mark":       c.Mark,
		"fail_open":      c.FailOpen,
		"refuse_quic":    !c.AllowQUIC,
		"refuse_raw":     !c.AllowRaw,
		"direct":         readsTasks() == nil,
		"redirect_mark":  c.Redirect,
		"listeners_ipv4": uint32(len(ipv4)),
		"listeners_ipv6": uint32(len(ipv6)),
		"listener_ipv4":  listenerArray(ipv4),
		"listener_ipv6":  listenerArray(ipv6),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %v", name, err)
		}
	}
	return spec, nil
}

// readsTasks: the hooks may read a task as it lies in the kernel. Otherwise they
// copy each of its fields by a helper, which takes longer.
func readsTasks() error {
	return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnGetCurrentTaskBtf)
}

// attach makes the pinned state or takes it over. The parent is locked.
func (c *Capture) attach() error {
	names, err := ownPins(c.config.PinDir)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && len(names) == 0:
		return c.create()
	case err != nil:
		return err
	}
	return c.takeOver()
}

// create builds the state in a directory of another name and renames that, so
// that nobody ever sees half of it.
func (c *Capture) create() (err error) {
	if c.config.Held != nil { // of a directory that somebody has removed
		_ = c.config.Held.Close()
	}
	building := c.config.PinDir + buildSuffix
	if err := removeState(building, nil); err != nil { // of a process that died while it built
		return err
	}
	if err := os.Mkdir(building, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeState(building, nil))
		}
	}()
	if c.pinned, err = lockDir(building); err != nil {
		return err
	}
	if err = c.load(building); err == nil {
		if err = os.Rename(building, c.config.PinDir); err == nil {
			return nil
		}
		err = errors.Join(err, c.release())
	}
	c.pinned.Close()
	return err
}

// takeOver gives the pinned state of an earlier process new programs.
func (c *Capture) takeOver() (err error) {
	if c.pinned, err = c.config.lock(); err != nil {
		return err
	}
	if err = checkOwner(c.pinned); err == nil {
		err = checkLayout(c.config.PinDir)
	}
	if err == nil {
		if err = c.load(c.config.PinDir); err == nil {
			return nil
		}
	}
	c.pinned.Close()
	return err
}

// lock takes the lock of the pinned state, or the one that was handed over.
func (c *Config) lock() (*os.File, error) {
	if c.Held == nil {
		return lockDir(c.PinDir)
	}
	if !sameFile(c.Held, c.PinDir) {
		return nil, fmt.Errorf("%s: %w: the lock that was handed over is another's", c.PinDir, ErrInUse)
	}
	return c.Held, nil
}

// load loads maps and programs and attaches the programs by links pinned in dir.
func (c *Capture) load(dir string) error {
	programs, maps, err := c.config.objects(dir)
	if err != nil {
		return err
	}
	// A link holds its program, so the descriptors need not live on but for
	// the one that is attached later.
	defer programs.Close()
	c.maps = maps
	if c.fence, err = programs.OnEgress.Clone(); err != nil {
		return errors.Join(err, c.maps.Close())
	}
	if err := c.settle(&programs, dir); err != nil {
		return errors.Join(err, c.release())
	}
	return nil
}

// objects loads the maps, or opens those that are pinned in dir, and the programs.
func (c *Config) objects(dir string) (outwardenPrograms, outwardenMaps, error) {
	var objects struct { // without the variables, whose memory would hold the constants' map
		outwardenPrograms
		outwardenMaps
	}
	spec, err := c.spec()
	if err == nil {
		err = spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}, Cache: c.types})
	}
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		err = fmt.Errorf("%s: %w (%v); outwarden detach removes it", dir, ErrLayout, err)
	} else if err != nil {
		err = fmt.Errorf("load the BPF programs: %w", err)
	}
	return objects.outwardenPrograms, objects.outwardenMaps, err
}

// settle puts the programs in place and the maps in order.
func (c *Capture) settle(p *outwardenPrograms, dir string) error {
	if err := c.linkAll(p, dir); err != nil {
		return err
	}
	if err := c.takeFences(dir); err != nil {
		return err
	}
	return errors.Join(c.SetPorts(c.config.Ports), writeLayout(c.maps.State))
}

// layoutPath is the pinned map that says which layout the others have.
func layoutPath(dir string) string { return filepath.Join(dir, "state") }
