package daemon

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/process"
)

// What descriptors are that come from a daemon before us.
const (
	isListener = "listener" // captured connections arrive here
	isControl  = "control"  // and control requests here
	isLock     = "lock"     // of run_dir
	isPins     = "pins"     // the lock of the pinned state
	isHandover = "handover" // successors come here
)

// inherited is what a daemon before us left: by the service manager, which keeps
// sockets while nobody of us lives, or by handing it over.
type inherited struct {
	sockets                       map[process.Netns][]*net.TCPListener // by network namespace
	home                          process.Netns                        // our own
	control, handover, lock, pins *os.File
}

// takeStored takes what the service manager kept.
func (i *inherited) takeStored() error {
	files := activation.Files(true)
	names := make([]string, len(files))
	for n, f := range files {
		names[n] = f.Name()
	}
	return i.add(names, files)
}

// add takes descriptors over. What is not known, or is not what its name says, is
// closed: it may be of another version.
func (i *inherited) add(names []string, files []*os.File) error {
	home, err := ownNetns()
	if err != nil {
		closeAll(files)
		return err
	}
	i.home = home
	for n, f := range files {
		switch names[n] {
		case isListener:
			i.addListener(f)
		case isControl:
			i.control = f
		case isHandover:
			i.handover = f
		case isLock:
			i.lock = f
		case isPins:
			i.pins = f
		default:
			_ = f.Close()
		}
	}
	return nil
}

// addListener takes one that is ours in kind: a plain TCP socket that listens on
// loopback.
func (i *inherited) addListener(f *os.File) {
	defer f.Close()
	netns, err := netnsOf(f)
	if err != nil || !isPlainListener(f) {
		return
	}
	l, err := net.FileListener(f)
	if err != nil {
		return
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok || !addrOf(tcp).Addr().IsLoopback() {
		_ = l.Close()
		return
	}
	if i.sockets == nil {
		i.sockets = map[process.Netns][]*net.TCPListener{}
	}
	i.sockets[netns] = append(i.sockets[netns], tcp)
}

// ports are those of the home set.
func (i *inherited) ports() (ports []uint16) {
	for _, l := range i.sockets[i.home] {
		ports = append(ports, addrOf(l).Port())
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	return ports[:min(len(ports), capture.MaxListeners)]
}

// take gives the listener of the home set at an address; nil if there is none.
func (i *inherited) take(a netip.AddrPort) *net.TCPListener {
	home := i.sockets[i.home]
	n := slices.IndexFunc(home, func(l *net.TCPListener) bool { return addrOf(l) == a })
	if n < 0 {
		return nil
	}
	l := home[n]
	i.sockets[i.home] = slices.Delete(home, n, n+1)
	return l
}

// takeSets gives the sets of other network namespaces.
func (i *inherited) takeSets() map[process.Netns]*set {
	sets := map[process.Netns]*set{}
	for netns, sockets := range i.sockets {
		if netns != i.home {
			sets[netns] = &set{sockets: sockets}
			delete(i.sockets, netns)
		}
	}
	return sets
}

func (i *inherited) takePins() *os.File    { return takeFile(&i.pins) }
func (i *inherited) takeLock() *os.File    { return takeFile(&i.lock) }
func (i *inherited) takeControl() *os.File { return takeFile(&i.control) }

func takeFile(from **os.File) *os.File {
	f := *from
	*from = nil
	return f
}

// close closes what was of no use.
func (i *inherited) close() {
	for _, sockets := range i.sockets {
		(&set{sockets: sockets}).close()
	}
	for _, f := range []*os.File{i.control, i.handover, i.lock, i.pins} {
		if f != nil {
			_ = f.Close()
		}
	}
	*i = inherited{}
}

func isPlainListener(f *os.File) bool {
	return onFD(f, func(fd int) error {
		listens, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		proto, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if listens != 1 || proto != unix.IPPROTO_TCP {
			return errors.Join(err1, err2, unix.EPROTONOSUPPORT)
		}
		return nil
	}) == nil
}

func ownNetns() (process.Netns, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return process.Netns{}, err
	}
	defer f.Close()
	return process.NetnsOf(f)
}

// netnsOf is the network namespace of a socket.
func netnsOf(socket syscall.Conn) (netns process.Netns, err error) {
	err = onFD(socket, func(fd int) error {
		ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
		if err != nil {
			return os.NewSyscallError("ioctl SIOCGSKNS", err)
		}
		f := os.NewFile(uintptr(ns), "network namespace")
		defer f.Close()
		netns, err = process.NetnsOf(f)
		return err
	})
	return netns, err
}
