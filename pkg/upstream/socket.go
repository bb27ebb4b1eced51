package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/outwarden/outwarden/pkg/flow"
	"golang.org/x/sys/unix"
)

// connect opens one TCP connection from the egress IP, and reads back from the
// socket that it joins the two addresses that were asked for.
func (p *Pool) connect(ctx context.Context, t *Target, a netip.Addr) (*net.TCPConn, error) {
	to := netip.AddrPortFrom(a, t.Key.Port)
	egress := t.egressIP()
	if egress.IsValid() && egress.Is4() != a.Is4() {
		return nil, egressError(fmt.Errorf("egress IP %v and %v are of different families", egress, a))
	}
	d := net.Dialer{FallbackDelay: -1, Control: p.control(t)}
	d.SetMultipathTCP(false)
	if egress.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(egress, 0))
	}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, connectError(egress, err)
	}
	tcp := c.(*net.TCPConn)
	if err := readBack(tcp, to, egress); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}

func connectError(egress netip.Addr, err error) error {
	if egress.IsValid() && errors.Is(err, unix.EADDRNOTAVAIL) {
		return egressError(err)
	}
	return err
}

func egressError(err error) error {
	return &Error{Reason: flow.ReasonEgressUnavailable, Err: err}
}

func readBack(c *net.TCPConn, to netip.AddrPort, egress netip.Addr) error {
	if remote := unmapped(c.RemoteAddr()); remote != netip.AddrPortFrom(to.Addr().WithZone(""), to.Port()) && remote != to {
		err := fmt.Errorf("connected to %v instead of %v", remote, to)
		return &Error{Reason: flow.ReasonAddressNotResolved, Err: err}
	}
	if local := unmapped(c.LocalAddr()).Addr(); egress.IsValid() && local.WithZone("") != egress.WithZone("") {
		return egressError(fmt.Errorf("source address is %v instead of %v", local, egress))
	}
	return nil
}

// control returns the hook that runs between socket(2) and connect(2): it judges
// the address that is really dialled, and readies the socket.
func (p *Pool) control(t *Target) func(network, address string, rc syscall.RawConn) error {
	return func(network, address string, rc syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return addressDenied(netip.Addr{}, "unreadable")
		}
		if err := p.judge(t, to); err != nil {
			return err
		}
		if t.egressIP().IsValid() {
			if err := portAtConnect(rc); err != nil {
				return err
			}
		}
		if p.o.Control == nil {
			return nil
		}
		return p.o.Control(network, address, rc)
	}
}

// judge refuses addresses that may not be dialled. An original destination is
// where the workload could go by itself, but for addresses that mean this host.
func (p *Pool) judge(t *Target, to netip.AddrPort) error {
	a := to.Addr().Unmap()
	if t.Key.Addr.IsValid() {
		if a.IsUnspecified() {
			return addressDenied(a, "unspecified")
		}
	} else if name := DeniedRange(a, t.allowPrivate()); name != "" {
		return addressDenied(a, name)
	}
	if p.o.Listener != nil && p.o.Listener(netip.AddrPortFrom(a, to.Port())) {
		return &Error{Reason: flow.ReasonLoop, Err: fmt.Errorf("%v is a listener of ours", to)}
	}
	return nil
}

// portAtConnect lets many connections to different peers share a source port of
// the egress IP: bind(2) then takes the address alone (ip(7); IPv6 sockets take
// the option too). Without it only the number of connections is smaller, so a
// failure is of no matter.
func portAtConnect(rc syscall.RawConn) error {
	return rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}
