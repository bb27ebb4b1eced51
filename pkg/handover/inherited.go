package handover

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/process"
)

// Inherited is what a daemon before us left: by the service manager, which keeps
// sockets while nobody of us lives, or by handing it over. What is taken is the
// taker's to close.
type Inherited struct {
	sockets                   map[process.Netns][]*net.TCPListener // by network namespace
	home                      process.Netns                        // our own
	guests                    []*net.TCPListener                   // transparent ones
	control, door, lock, pins *os.File
}

// TakeStored takes what the service manager kept; see Store.
func (i *Inherited) TakeStored() error {
	files := activation.Files(true)
	kinds := make([]Kind, len(files))
	for n, f := range files {
		kinds[n] = Kind(f.Name())
	}
	return i.add(kinds, files)
}

// add takes descriptors over. What is not known, or is not what its name says, is
// closed: it may be of another version.
func (i *Inherited) add(kinds []Kind, files []*os.File) error {
	home, err := process.OwnNetns()
	if err != nil {
		closeAll(files)
		return err
	}
	i.home = home
	for n, f := range files {
		switch what := kinds[n]; what {
		case KindGuest:
			i.addGuest(f)
		case KindControl:
			putFile(&i.control, f)
		case KindHandover:
			putFile(&i.door, f)
		case KindLock:
			putFile(&i.lock, f)
		case KindPins:
			putFile(&i.pins, f)
		default:
			i.addListener(what, f)
		}
	}
	return nil
}

// addListener takes one that is ours in kind, and in the network namespace that its
// kind says, if that says one.
func (i *Inherited) addListener(what Kind, f *os.File) {
	defer f.Close()
	netns, err := netnsOf(f)
	if err != nil || what != KindListener && what != ListenerIn(netns) {
		return
	}
	tcp := listener(f)
	if tcp == nil {
		return
	}
	if i.sockets == nil {
		i.sockets = map[process.Netns][]*net.TCPListener{}
	}
	i.sockets[netns] = append(i.sockets[netns], tcp)
}

// addGuest takes a listener of our network namespace that is transparent.
func (i *Inherited) addGuest(f *os.File) {
	defer f.Close()
	netns, err := netnsOf(f)
	if err != nil || netns != i.home || !isTransparent(f) {
		return
	}
	if tcp := listener(f); tcp != nil {
		i.guests = append(i.guests, tcp)
	}
}

// listener is a plain TCP socket that listens on loopback; nil if it is another.
func listener(f *os.File) *net.TCPListener {
	if !isPlainListener(f) {
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok || !addrOf(tcp).Addr().IsLoopback() {
		_ = l.Close()
		return nil
	}
	return tcp
}

// Ports are those of the home set, in order.
func (i *Inherited) Ports() (ports []uint16) {
	for _, l := range i.sockets[i.home] {
		ports = append(ports, addrOf(l).Port())
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// TakeListener gives the listener of the home set at an address; nil if there is
// none.
func (i *Inherited) TakeListener(a netip.AddrPort) *net.TCPListener {
	home := i.sockets[i.home]
	n := slices.IndexFunc(home, func(l *net.TCPListener) bool { return addrOf(l) == a })
	if n < 0 {
		return nil
	}
	l := home[n]
	i.sockets[i.home] = slices.Delete(home, n, n+1)
	return l
}

// TakeOthers gives the listeners of other network namespaces.
func (i *Inherited) TakeOthers() map[process.Netns][]*net.TCPListener {
	others := i.sockets
	i.sockets = map[process.Netns][]*net.TCPListener{i.home: others[i.home]}
	delete(others, i.home)
	return others
}

// TakeGuest gives the transparent listener at an address, whatever its port; nil if
// there is none.
func (i *Inherited) TakeGuest(a netip.Addr) *net.TCPListener {
	n := slices.IndexFunc(i.guests, func(l *net.TCPListener) bool { return addrOf(l).Addr() == a })
	if n < 0 {
		return nil
	}
	l := i.guests[n]
	i.guests = slices.Delete(i.guests, n, n+1)
	return l
}

// TakePins gives the lock of the pinned state; nil if there is none, as with all
// that follow.
func (i *Inherited) TakePins() *os.File { return takeFile(&i.pins) }

// TakeLock gives the lock of run_dir.
func (i *Inherited) TakeLock() *os.File { return takeFile(&i.lock) }

// dropLock lets go of it: whoever left it may still need it.
func (i *Inherited) dropLock() {
	if lock := i.TakeLock(); lock != nil {
		_ = lock.Close()
	}
}

// TakeControl gives the control socket.
func (i *Inherited) TakeControl() *os.File { return takeFile(&i.control) }

// Regain takes the control socket back that a successor was offered and did not
// keep.
func (i *Inherited) Regain(f *Files) { i.control = f.take(KindControl) }

// putFile keeps the newest: what the service manager kept may be handed over too.
func putFile(to **os.File, f *os.File) {
	if *to != nil {
		_ = (*to).Close()
	}
	*to = f
}

func takeFile(from **os.File) *os.File {
	f := *from
	*from = nil
	return f
}

// Close closes what was of no use.
func (i *Inherited) Close() {
	for _, sockets := range i.sockets {
		for _, l := range sockets {
			_ = l.Close()
		}
	}
	for _, l := range i.guests {
		_ = l.Close()
	}
	for _, f := range []*os.File{i.control, i.door, i.lock, i.pins} {
		if f != nil {
			_ = f.Close()
		}
	}
	*i = Inherited{}
}

func isPlainListener(f *os.File) bool {
	return withFD(f, func(fd int) error {
		listens, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		proto, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if listens != 1 || proto != unix.IPPROTO_TCP {
			return errors.Join(err1, err2, unix.EPROTONOSUPPORT)
		}
		return nil
	}) == nil
}

// isTransparent reports whether a socket takes connections to addresses that are not
// this host's.
func isTransparent(f *os.File) bool {
	return withFD(f, func(fd int) error {
		v4, err4 := unix.GetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT)
		v6, err6 := unix.GetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT)
		if err4 == nil && v4 == 1 || err6 == nil && v6 == 1 {
			return nil
		}
		return unix.EPROTONOSUPPORT
	}) == nil
}

func addrOf(l *net.TCPListener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// netnsOf is the network namespace of a socket.
func netnsOf(socket syscall.Conn) (process.Netns, error) {
	f, err := process.OpenNetnsOf(socket)
	if err != nil {
		return process.Netns{}, err
	}
	defer f.Close()
	return process.NetnsOf(f)
}
