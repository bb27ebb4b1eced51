package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netfilter"
)

// guestNetns stands for the namespace of guests, which no kernel of ours has a
// cookie for.
const guestNetns = 0

// listenGuests opens the transparent listeners of backend tproxy, or goes on with
// those of the daemon before us: what waits in their queues is not lost. They are on
// loopback, so nobody reaches them but by our table.
func (d *Daemon) listenGuests(ctx context.Context) error {
	if d.atStart.Capture.Backend != config.TProxy {
		return nil
	}
	d.later(d.guests.close)
	lc := net.ListenConfig{Control: netfilter.Transparent} // with keepalive: a guest may vanish
	lc.SetMultipathTCP(false)
	for _, a := range addresses([]uint16{0}) {
		if l := d.inherited.TakeGuest(a.Addr()); l != nil {
			d.guests.sockets = append(d.guests.sockets, l)
			continue
		}
		l, err := lc.Listen(ctx, "tcp", a.String())
		if err != nil && a.Addr().Is6() && noIPv6(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open transparent listener: %w", err)
		}
		d.guests.sockets = append(d.guests.sockets, l.(*net.TCPListener))
	}
	return nil
}

// guestFlow is what is known of a guest's connection: its address, and where it
// was to go, which is the local address of the accepted socket. Who dialled the
// listener itself is no guest.
func (d *Daemon) guestFlow(local, remote netip.AddrPort) (flow.Flow, bool) {
	if d.guests.has(local) {
		return flow.Flow{}, false
	}
	return flow.Flow{
		Cookie: d.guestFlows.Add(1), Source: remote, Original: local, At: time.Now(),
		Verdict: flow.VerdictRedirect, Guest: true,
	}, true
}
