package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/netfilter"
)

// tablePrefix begins the name of every nftables table of ours.
const tablePrefix = "outwarden"

func (e *examination) kernel() {
	var u unix.Utsname
	_ = unix.Uname(&u) // it cannot fail with room for the answer
	features, lacks := capture.Probe(), 0
	for _, f := range features {
		switch {
		case f.Err == nil:
			continue
		case f.Without == "":
			e.wrong("kernel", "a kernel of 5.10 or later with BPF, BTF and cgroup v2 has it", "%s: %v", f.Name, f.Err)
		default:
			e.fine("kernel", "no %s (%v): %s", f.Name, f.Err, f.Without)
		}
		lacks++
	}
	e.fine("kernel", "%s has %d of %d features that capture uses", unix.ByteSliceToString(u.Release[:]), len(features)-lacks, len(features))
}

// firstPIDNamespace is its number on every host (PROC_PID_INIT_INO of Linux).
const firstPIDNamespace = 0xEFFFFFFC

// processes are told by their ids in the first PID namespace: in another one we would
// look for them in vain.
func (e *examination) processes() {
	var s unix.Stat_t
	switch err := unix.Stat("/proc/self/ns/pid", &s); {
	case err != nil:
		e.wrong("processes", "mount -t proc proc /proc", "in which PID namespace this is cannot be told: %v", err)
	case s.Ino != firstPIDNamespace:
		e.wrong("processes", "run outwarden on the host itself; in a container, with the host's PID namespace (hostPID: true, --pid=host)",
			"this is not the first PID namespace: the hooks name processes by their ids there, so nobody who calls is known here")
	default:
		e.fine("processes", "they are seen as the hooks see them, in the first PID namespace")
	}
}

func (e *examination) cgroups() {
	root, err := capture.Cgroup2()
	if err != nil {
		e.wrong("cgroups", "mount -t cgroup2 none /sys/fs/cgroup", "%v", err)
		return
	}
	if !capture.IsCgroupRoot(root) {
		e.wrong("cgroups", "run outwarden outside of the container, or share the host's cgroup namespace with it",
			"%s is not the root of the cgroup tree: processes outside of it cannot be captured", root)
		return
	}
	e.fine("cgroups", "cgroup2 is at %s", root)
	if err := capture.SocketCgroups(); errors.Is(err, capture.ErrForgotten) {
		e.wrong("cgroups", "boot with cgroup_no_v1=net_cls,net_prio, or a kernel of 5.15 or later",
			"net_cls or net_prio of cgroup v1 has been used, and %v: raw sockets in scope are neither refused nor recorded", err)
	}
}

func (e *examination) bpffs() {
	const usual = "/sys/fs/bpf"
	above := filepath.Dir(e.pins)
	var s unix.Statfs_t
	err := unix.Statfs(above, &s)
	if below := above == usual || strings.HasPrefix(above, usual+"/"); below && errors.Is(err, unix.ENOENT) {
		above, err = usual, unix.Statfs(usual, &s) // the daemon makes what is missing there
	} else if below && s.Type != unix.BPF_FS_MAGIC {
		e.fine("bpffs", "not mounted on %s yet; the daemon mounts it", usual)
		return
	}
	info, statErr := os.Stat(e.pins)
	switch {
	case err != nil || s.Type != unix.BPF_FS_MAGIC:
		e.wrong("bpffs", "choose a directory below "+usual+" in capture.pin_dir, or mount -t bpf bpf "+above, "%s is on no BPF file system, so nothing can be pinned in %s", above, e.pins)
	case s.Flags&unix.ST_RDONLY != 0:
		e.wrong("bpffs", "mount -o remount,rw it, or run outwarden where it may be written to", "%s is mounted read-only, so nothing can be pinned in %s", above, e.pins)
	case statErr == nil && info.Mode().Perm()&0o077 != 0:
		e.wrong("bpffs", "chmod 0700 "+e.pins, "%s is open to others: %v", e.pins, info.Mode().Perm())
	default:
		e.fine("bpffs", "mounted on %s", above)
	}
}

// marks looks for rules of others that use the bits of ours.
func (e *examination) marks() {
	c := &e.config.Capture
	ours, keys := cmp.Or(c.Mark, capture.DefaultMark), "capture.mark"
	if c.Backend != config.Rewrite { // which alone has no other
		ours, keys = ours|cmp.Or(c.RedirectMark, netfilter.DefaultMark), "capture.mark and capture.redirect_mark"
	}
	uses, err := netfilter.Marks(nil, ours, tablePrefix)
	if err != nil {
		e.fine("marks", "what uses marks cannot be told: %v", err)
		return
	}
	for _, u := range uses {
		e.wrong("marks", "choose bits that nobody uses in "+keys+", or have the rule leave ours alone", "%v, which takes in a bit of ours (%#x)", u, ours)
	}
	if len(uses) == 0 {
		e.fine("marks", "no rule of nftables or of policy routing uses ours (%#x)", ours)
	}
}

func (e *examination) nftables() {
	err := netfilter.Probe(netfilter.Config{Name: tablePrefix + "-probe", Local: netfilter.Local{IPv4: []uint16{1}}})
	if err != nil {
		e.fine("nftables", "only backend rewrite works here: %v", err)
		return
	}
	found, err := netfilter.Examine(nil, tableName(e.pins))
	switch {
	case err != nil:
		e.wrong("nftables", "see the error", "our table cannot be read: %v", err)
	case found.Dormant:
		e.wrong("nftables", "restart outwarden, and find out who did it", "our table is there, but somebody has switched it off")
	case found.Table:
		e.fine("nftables", "our table is in force, with %d policy rules and %d routes", found.Rules, found.Routes)
	default:
		e.fine("nftables", "usable; no table of ours is there")
	}
}

// workloads that may send what no hook sees.
func (e *examination) workloads() {
	if !e.attached() {
		return
	}
	raw, err := capture.FrameSenders("", e.pins)
	if err != nil {
		e.wrong("workloads", "run as root", "%v", err)
		return
	}
	if len(raw) == 0 {
		e.fine("workloads", "no process in scope holds CAP_NET_RAW")
		return
	}
	const show = 5
	list := make([]string, 0, show+1)
	for i, p := range raw {
		if i == show {
			list = append(list, fmt.Sprintf("and %d more", len(raw)-show))
			break
		}
		list = append(list, fmt.Sprintf("%s (pid %d)", p.Exe, p.PID))
	}
	e.wrong("workloads", "take the capability from them (CapabilityBoundingSet=~CAP_NET_RAW in a unit, drop: [NET_RAW] in a pod)",
		"%d in scope hold CAP_NET_RAW, and packet sockets pass below the hooks: %s", len(raw), strings.Join(list, ", "))
}
