package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// product is the peer that all others are compared with.
const product = "outwarden"

// peer is a proxy that can take part.
type peer interface {
	name() string
	// local says that clients connect to peerIP.
	local() bool
	does(workload) bool
	// command writes the configuration and says how to start; nil: there is no process.
	command(w *world, work workload) ([]string, error)
}

// watched is a peer with an account of its own and something to clean up.
type watched interface {
	roots(w *world) string // file of the roots that its clients need
	// account fails before all of the product has started.
	account(ctx context.Context, b *bench) (*account, error)
	// end asks the process to leave, and removes what it would leave behind.
	end(b *bench) error
}

// account is what the product says that it did.
type account struct {
	Requests     uint64 `json:"requests"`
	Credentialed uint64 `json:"credentialed"`
	Refused      uint64 `json:"refused"`
	Unattributed uint64 `json:"unattributed"`
	Passed       uint64 `json:"passed"`
	Dials        uint64 `json:"dials"`
	Records      uint64 `json:"records"`
	Lost         uint64 `json:"lost"`
}

func allPeers() []peer {
	return []peer{direct{}, outwarden{}, nginx{}, haproxy{}, library{"fasthttp"}, library{"reverseproxy"}}
}

func names(peers []peer) []string {
	var s []string
	for _, p := range peers {
		s = append(s, p.name())
	}
	return s
}

// bench is one proxy that runs, and what a workload needs.
type bench struct {
	*world
	peer   peer
	work   workload
	proxy  *role
	length time.Duration // of a sample
}

// launch starts a proxy for a workload. Stop it.
func (w *world) launch(pr peer, work workload) (*bench, error) {
	b := &bench{world: w, peer: pr, work: work, proxy: w.proxy, length: w.plan.length()}
	if work.cores > 1 {
		b.proxy = w.proxy.anywhere()
	}
	if err := w.hosts(pr); err != nil {
		return nil, err
	}
	args, err := pr.command(w, work)
	if err != nil || args == nil {
		return b, err
	}
	if err := w.background(b.proxy, command{args: args}, pr.name()+".log"); err != nil {
		return nil, err
	}
	return b, nil
}

// stop ends the proxy and its clients.
func (b *bench) stop() error {
	var failed error
	if p, ok := b.peer.(watched); ok {
		failed = p.end(b)
	}
	return errors.Join(failed, b.client.kill(), b.proxy.kill())
}

// settle adds the product's own account to a sample, and objects to what must
// not be.
func (b *bench) settle(s *sample) error {
	p, ok := b.peer.(watched)
	if !ok {
		return nil
	}
	a, err := p.account(context.Background(), b)
	if err != nil {
		return err
	}
	s.Account = a
	switch {
	case a.Lost > 0:
		return fmt.Errorf("%d records were lost", a.Lost)
	case a.Unattributed > 0:
		return fmt.Errorf("%d connections without identity", a.Unattributed)
	case b.work.kind == terminate && !b.work.live && a.Credentialed < uint64(s.N):
		return fmt.Errorf("%d requests with a credential, but %d answers", a.Credentialed, s.N)
	case b.work.kind == terminate && a.Credentialed == 0:
		return errors.New("no request with a credential")
	case b.work.kind == pass && a.Records == 0:
		return errors.New("no record")
	}
	return nil
}

// roots is the file of the roots that clients of this proxy trust: not the
// origin's where TLS is terminated.
func (b *bench) roots() string {
	p, ok := b.peer.(watched)
	switch {
	case b.plain():
		return b.path("origin-ca.pem")
	case ok:
		return p.roots(b.world)
	}
	return b.path("peer-ca.pem")
}

// plain reports whether clients speak with the origin itself.
func (b *bench) plain() bool { return b.work.kind == pass || b.peer.name() == (direct{}).name() }

// url is where the workload's requests go.
func (b *bench) url(name, path string) string {
	switch plain := b.plain(); {
	case plain && name == apiName:
		name = plainName
	case plain && name == appName:
		name = openName
	}
	return "https://" + name + path
}

func (b *bench) program(name string) string { return filepath.Join(b.plan.programs, name) }

// address is where a peer listens.
func address() string { return net.JoinHostPort(peerIP, "443") }

// direct is no proxy: what the same calls cost without one.
type direct struct{}

func (direct) name() string                               { return "direct" }
func (direct) local() bool                                { return false }
func (direct) does(w workload) bool                       { return w.compared() || w.kind == pass }
func (direct) command(*world, workload) ([]string, error) { return nil, nil }
