package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// linkPrefix tells pinned links from pinned maps.
const linkPrefix = "link_"

// hook is one program and the place where it is attached.
type hook struct {
	name       string // of the pin, after linkPrefix
	program    *ebpf.Program
	attach     ebpf.AttachType // for cgroup hooks
	tracepoint string          // for the others
}

// hooks are in the order of attaching: what answers a redirected socket comes
// before what redirects.
func hooks(p *outwardenPrograms) []hook {
	return []hook{
		{name: "sockops", program: p.TrackTuple, attach: ebpf.AttachCGroupSockOps},
		{name: "release", program: p.OnRelease, attach: ebpf.AttachCgroupInetSockRelease},
		{name: "getpeername4", program: p.TellPeer4, attach: ebpf.AttachCgroupInet4GetPeername},
		{name: "getpeername6", program: p.TellPeer6, attach: ebpf.AttachCgroupInet6GetPeername},
		{name: "getsockname4", program: p.TellLocal4, attach: ebpf.AttachCgroupInet4GetSockname},
		{name: "getsockname6", program: p.TellLocal6, attach: ebpf.AttachCgroupInet6GetSockname},
		{name: "sendmsg4", program: p.OnSendmsg4, attach: ebpf.AttachCGroupUDP4Sendmsg},
		{name: "sendmsg6", program: p.OnSendmsg6, attach: ebpf.AttachCGroupUDP6Sendmsg},
		{name: "connect4", program: p.OnConnect4, attach: ebpf.AttachCGroupInet4Connect},
		{name: "connect6", program: p.OnConnect6, attach: ebpf.AttachCGroupInet6Connect},
		{name: "exec", program: p.OnExec, tracepoint: "sched_process_exec"},
		{name: "exit", program: p.OnExit, tracepoint: "sched_process_exit"},
	}
}

// linkAll attaches every program, by the link that is pinned in dir or by a new one.
func linkAll(p *outwardenPrograms, cgroupRoot, dir string) error {
	for _, h := range hooks(p) {
		if err := h.link(cgroupRoot, filepath.Join(dir, linkPrefix+h.name)); err != nil {
			return fmt.Errorf("attach %s: %v", h.name, err)
		}
	}
	return nil
}

// link attaches one program. The pin keeps it; no descriptor does.
func (h hook) link(cgroupRoot, pin string) error {
	if h.tracepoint != "" {
		return h.replace(pin)
	}
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		return errors.Join(l.Update(h.program), l.Close())
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err = link.AttachCgroup(link.CgroupOptions{Path: cgroupRoot, Attach: h.attach, Program: h.program})
	if err != nil {
		return err
	}
	return errors.Join(l.Pin(pin), l.Close())
}

// replace attaches a tracepoint program anew: such a link cannot be updated.
// Only events are at stake, and nobody reads them at this moment.
func (h hook) replace(pin string) error {
	if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.tracepoint, Program: h.program})
	if err != nil {
		return err
	}
	return errors.Join(l.Pin(pin), l.Close())
}
