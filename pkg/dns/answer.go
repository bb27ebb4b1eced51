package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxChain bounds CNAMEs followed for one name, over all messages.
const maxChain = 16

// maxAddrs bounds what is kept of one family's addresses: a message over TCP has room
// for 4,000, and who may look names up could have the cache full of them.
const maxAddrs = 128

var errChain = errors.New("chain of CNAMEs is circular or too long")

// answer is what one family, or both, said of a name.
type answer struct {
	addrs []netip.Addr
	ttl   time.Duration // the smallest on the way to the addresses
}

// chain walks from a name along CNAMEs to addresses.
type chain struct {
	name string // lower case, with the root's dot
	kind uint16 // dns.TypeA or dns.TypeAAAA
	hops int
	answer
}

func newChain(name string, kind uint16) *chain {
	return &chain{name: dns.Fqdn(name), kind: kind, answer: answer{ttl: maxTTL}}
}

// take follows the records of a message that belong to the chain, in whatever
// order they stand. Done means that nothing more need be asked: there are
// addresses, or the name has none.
func (c *chain) take(m *dns.Msg) (done bool, err error) {
	moved := false
	for {
		c.addresses(m)
		if len(c.addrs) > 0 {
			return true, nil
		}
		next := c.alias(m)
		if next == "" {
			return !moved || m.Rcode == dns.RcodeNameError || negative(m), nil
		}
		if c.hops++; c.hops > maxChain {
			return false, errChain
		}
		c.name, moved = next, true
	}
}

// negative reports whether the server says that the end of the chain has no such
// records, and not merely that it did not look (RFC 2308 section 2.2).
func negative(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// addresses collects the records of the chain's present name.
func (c *chain) addresses(m *dns.Msg) {
	for _, rr := range m.Answer {
		if !c.owns(rr, c.kind) || len(c.addrs) == maxAddrs {
			continue
		}
		if a, ok := address(rr); ok {
			c.addrs = append(c.addrs, a)
			c.age(rr)
		}
	}
}

// alias returns where the present name's CNAME leads, or "".
func (c *chain) alias(m *dns.Msg) string {
	for _, rr := range m.Answer {
		if cname, ok := rr.(*dns.CNAME); ok && c.owns(rr, dns.TypeCNAME) {
			c.age(rr)
			return strings.ToLower(cname.Target)
		}
	}
	return ""
}

func (c *chain) owns(rr dns.RR, kind uint16) bool {
	h := rr.Header()
	return h.Rrtype == kind && h.Class == dns.ClassINET && strings.EqualFold(h.Name, c.name)
}

func (c *chain) age(rr dns.RR) {
	c.ttl = min(c.ttl, time.Duration(rr.Header().Ttl)*time.Second)
}

func address(rr dns.RR) (netip.Addr, bool) {
	var a netip.Addr
	var ok bool
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return a.Unmap(), ok
}

// answers reports whether m is the reply to q and not to another question.
func answers(q, m *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || m.Opcode != q.Opcode {
		return false
	}
	if len(m.Question) == 0 { // a server that does not know EDNS may leave it out
		return m.Rcode == dns.RcodeFormatError
	}
	asked, got := q.Question[0], m.Question[0]
	return len(m.Question) == 1 && got.Qtype == asked.Qtype && got.Qclass == asked.Qclass &&
		strings.EqualFold(got.Name, asked.Name)
}

// usable tells an answer, positive or negative, from a server's failure.
func usable(m *dns.Msg) error {
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNoAnswer, dns.RcodeToString[m.Rcode])
}
