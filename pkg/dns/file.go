package dns

import (
	"bufio"
	"bytes"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/outwarden/outwarden/pkg/match"
)

// maxFile bounds what is read of a configuration file.
const maxFile = 16 << 20

// watched is a parsed file that is read again when it changes. A file that can't
// be read counts as empty.
type watched[T any] struct {
	path  string
	parse func(io.Reader) T

	mu     sync.Mutex
	read   bool
	looked time.Time // when the file was looked at last
	stamp  stamp
	value  T
}

// stamp tells one content of a file from another; the zero stamp is an absent
// file.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// get returns the content at now, the present, and whether it is another one than
// the last get returned.
func (w *watched[T]) get(now time.Time) (value T, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = now
	at := stampOf(w.path)
	if w.read && at == w.stamp {
		return w.value, false
	}
	changed = w.read
	w.read, w.stamp, w.value = true, at, w.load()
	return w.value, changed
}

// recent returns what get has returned in the last second. It does not wait: false
// where it would have to, or where the file must be looked at again.
func (w *watched[T]) recent(now time.Time) (value T, ok bool) {
	if !w.mu.TryLock() {
		return value, false
	}
	defer w.mu.Unlock()
	return w.value, w.read && now.Sub(w.looked) < time.Second
}

func (w *watched[T]) load() T {
	f, err := os.Open(w.path)
	if err != nil {
		return w.parse(bytes.NewReader(nil))
	}
	defer f.Close()
	return w.parse(io.LimitReader(f, maxFile))
}

// hosts maps canonical names to addresses.
type hosts map[string][]netip.Addr

// parseHosts reads hosts(5). Lines that can't be read are skipped, as the C
// library does.
func parseHosts(r io.Reader) hosts {
	h := make(hosts)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxFile+1) // one too long would end the file, and leave the names below it to DNS
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			if name, err := match.CanonicalHost(name); err == nil {
				h[name] = append(h[name], addr.Unmap())
			}
		}
	}
	return h
}

// parseServers reads the name servers of resolv.conf(5); without any it is the
// one on this host, as for the C library.
func parseServers(r io.Reader) []netip.AddrPort {
	const port = 53
	var servers []netip.AddrPort
	if c, err := dns.ClientConfigFromReader(r); err == nil {
		for _, s := range c.Servers {
			if a, err := netip.ParseAddr(s); err == nil {
				servers = append(servers, netip.AddrPortFrom(a, port))
			}
		}
	}
	if len(servers) == 0 {
		servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	}
	return servers
}
