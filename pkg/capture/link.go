package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
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

// joinNAT is the hook that backend nft alone has.
func joinNAT(p *outwardenPrograms) hook {
	return hook{name: "nat", program: p.JoinNat, attach: ebpf.AttachCGroupInetEgress}
}

// egress is where the program of a fence stands.
func egress(p *ebpf.Program) hook {
	return hook{name: "egress", program: p, attach: ebpf.AttachCGroupInetEgress}
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
		{name: "bind4", program: p.OnBind4, attach: ebpf.AttachCGroupInet4Bind},
		{name: "bind6", program: p.OnBind6, attach: ebpf.AttachCGroupInet6Bind},
		{name: "connect4", program: p.OnConnect4, attach: ebpf.AttachCGroupInet4Connect},
		{name: "connect6", program: p.OnConnect6, attach: ebpf.AttachCGroupInet6Connect},
		{name: "fork", program: p.OnFork, tracepoint: "sched_process_fork"},
		{name: "exec", program: p.OnExec, tracepoint: "sched_process_exec"},
		{name: "exit", program: p.OnExit, tracepoint: "sched_process_exit"},
		{name: "join", program: p.OnJoin, tracepoint: "cgroup_attach_task"},
		{name: "mkdir", program: p.OnMkdir, tracepoint: "cgroup_mkdir"},
	}
}

// hooksFor are the hooks of a backend.
func hooksFor(p *outwardenPrograms, nat bool) []hook {
	if nat {
		return append([]hook{joinNAT(p)}, hooks(p)...)
	}
	return hooks(p)
}

// linkAll attaches every program, by the link that is pinned in dir or by a new
// one. What joins and fences for nftables stands before anything is marked, and
// goes when nothing is any more.
func (c *Capture) linkAll(p *outwardenPrograms, dir string) error {
	nat := c.config.Redirect != 0
	for _, h := range hooksFor(p, nat) {
		l, err := h.link(c.config.CgroupRoot, filepath.Join(dir, linkPrefix+h.name))
		if err != nil {
			return fmt.Errorf("attach %s: %w", h.name, h.blocked(c.config.CgroupRoot, err))
		}
		c.links = append(c.links, l)
	}
	if nat {
		return nil
	}
	return unlink(filepath.Join(dir, linkPrefix+joinNAT(p).name))
}

// unlink detaches a link of an earlier process, if there is one.
func unlink(pin string) error {
	detachLink(pin)
	if err := os.Remove(pin); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// link attaches one program and pins it. The descriptor holds it as well, for
// who wipes the directory must not take the hooks away under a living process.
func (h hook) link(cgroupRoot, pin string) (link.Link, error) {
	if h.tracepoint != "" {
		return h.replace(pin)
	}
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		l, err = orClose(l, l.Update(h.program))
		if !errors.Is(err, unix.ENOLINK) {
			return l, err
		}
		err = os.Remove(pin) // somebody has detached it and left the pin
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return attachCgroup(cgroupRoot, h.attach, h.program, pin)
}

// attachCgroup attaches a program to a cgroup by a new link, and pins that.
func attachCgroup(dir string, at ebpf.AttachType, program *ebpf.Program, pin string) (link.Link, error) {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: at, Program: program})
	if err != nil {
		return nil, err
	}
	return orClose(l, l.Pin(pin))
}

// replace attaches a tracepoint program anew: such a link cannot be updated. For
// a moment there are two of it, so that no cgroup is made unseen.
func (h hook) replace(pin string) (link.Link, error) {
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.tracepoint, Program: h.program})
	if err != nil {
		return nil, err
	}
	if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return orClose(l, err)
	}
	return orClose(l, l.Pin(pin))
}

// orClose gives the link, or closes it where something with it went wrong.
func orClose(l link.Link, err error) (link.Link, error) {
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
