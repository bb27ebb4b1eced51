package capture

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Feature is something of the kernel that capture can use.
type Feature struct {
	Name    string
	Err     error  // nil: it is there
	Without string // what is done where it is not; empty where nothing works without it
}

// Probe asks this kernel for each feature that capture uses, by trying it; a
// version number says nothing. It needs root and changes nothing.
func Probe() []Feature {
	if err := rlimit.RemoveMemlock(); err != nil {
		return []Feature{{Name: "memlock limit", Err: err}}
	}
	list := []Feature{{Name: "BTF of the kernel", Err: probeBTF()}, {Name: "our programs", Err: probeLoad()}}
	for _, h := range hooks(&outwardenPrograms{}) {
		if h.tracepoint == "" {
			list = append(list, Feature{Name: "hook " + h.name, Err: probeHook(h.attach)})
		}
	}
	for _, kind := range []ebpf.MapType{ebpf.SkStorage, ebpf.RingBuf, ebpf.LPMTrie, ebpf.LRUHash} {
		list = append(list, Feature{Name: "map " + kind.String(), Err: features.HaveMapType(kind)})
	}
	for _, helper := range []asm.BuiltinFunc{
		asm.FnSkLookupTcp, asm.FnSkStorageGet, asm.FnGetNetnsCookie, asm.FnGetSocketCookie,
		asm.FnKtimeGetBootNs, asm.FnGetCurrentAncestorCgroupId, asm.FnProbeReadKernel, asm.FnRingbufReserve, asm.FnSetsockopt,
	} {
		list = append(list, Feature{Name: "connect helper " + helper.String(), Err: features.HaveProgramHelper(ebpf.CGroupSockAddr, helper)})
	}
	return append(list,
		Feature{"tasks read in place", readsTasks(), "the hooks copy what they say of a caller, and a connect() takes longer"},
		Feature{"SO_NETNS_COOKIE", probeNetnsCookie(), "the connect hook tells the cookie of a namespace, when we connect there"},
		Feature{"lookup and delete in one step", probeTake(), "a record that comes in between is contested, and its connection is reset"},
		Feature{"net_cls and net_prio beside the cgroup of a socket", probeSocketCgroups(), "once anybody uses these (cgroup v1), raw sockets in scope are neither refused nor recorded; cgroup_no_v1=net_cls,net_prio on the kernel's command line keeps them away"},
		Feature{"MPTCP", probeSocket(unix.SOCK_STREAM, unix.IPPROTO_MPTCP), "no workload can make an MPTCP socket either"},
		Feature{"UDP-Lite", probeSocket(unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE), "no workload can make a UDP-Lite socket either"},
	)
}

// probeBTF: our programs read the fields of a task where this kernel has them.
func probeBTF() error {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	return err
}

// probeLoad loads all of our programs and throws them away.
func probeLoad() error {
	spec, err := new(Config).spec()
	if err != nil {
		return err
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return err
	}
	loaded.Close()
	return nil
}

// probeHook attaches a program that does nothing, to a cgroup that is none: a
// kernel that knows the hook says that the descriptor is wrong.
func probeHook(at ebpf.AttachType) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: programType(at), AttachType: at, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer program.Close()
	err = link.RawAttachProgram(link.RawAttachProgramOptions{Target: program.FD(), Program: program, Attach: at})
	if errors.Is(err, unix.EBADF) {
		return nil
	}
	return fmt.Errorf("attach to what is no cgroup: %w", err)
}

// programType is the type of program that stands at a hook.
func programType(at ebpf.AttachType) ebpf.ProgramType {
	switch at {
	case ebpf.AttachCGroupSockOps:
		return ebpf.SockOps
	case ebpf.AttachCgroupInetSockRelease:
		return ebpf.CGroupSock
	case ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress:
		return ebpf.CGroupSKB
	}
	return ebpf.CGroupSockAddr
}

func probeNetnsCookie() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

func probeSocket(kind, protocol int) error {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// probeTake asks as Lookup does.
func probeTake() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Put(uint32(0), uint32(0)); err != nil {
		return err
	}
	var value uint32
	return m.LookupAndDelete(uint32(0), &value)
}
