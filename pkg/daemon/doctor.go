package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
)

// Finding is what one look at the host has come to.
type Finding struct {
	Check string `json:"check"` // what was looked at: kernel, hooks, programs, ...
	OK    bool   `json:"ok"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"` // about it, where it is not OK
}

// Examine looks at everything on the host that capture stands on, for a
// configuration. It needs root, and no daemon; it changes nothing.
func Examine(ctx context.Context, c *config.Config) []Finding {
	e := &examination{config: c}
	e.status, e.statusErr = statusOf(ctx, c)
	e.find()
	for _, look := range []func(){
		e.kernel, e.processes, e.cgroups, e.bpffs, e.programs, e.ownHooks, e.daemon, e.listeners, e.marks, e.nftables, e.workloads,
	} {
		look()
	}
	return e.found
}

// find tells the hooks of the daemon that serves, or that is to serve, from those
// that another one has left: one that `run` starts has its own.
func (e *examination) find() {
	e.pins = pinDir(e.config, false)
	other := pinDir(e.config, true)
	if e.status != nil && e.status.Ephemeral {
		e.pins, other = other, e.pins
	}
	e.hooks, e.hooksErr = capture.Hooks(e.pins)
	for _, dir := range []string{other, formerPins(e.config)} {
		if dir == "" || dir == e.pins {
			continue
		}
		if left, err := capture.Hooks(dir); err == nil && len(left) > 0 {
			e.left = dir
		}
	}
}

// statusOf asks the daemon, who may hang.
func statusOf(ctx context.Context, c *config.Config) (*control.Status, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return control.NewClient(SocketPath(c)).Status(ctx)
}

// examination gathers findings, and what several looks need.
type examination struct {
	config    *config.Config
	pins      string
	left      string // where there are hooks of a daemon that does not serve, beside those
	hooks     []capture.HookState
	hooksErr  error
	status    *control.Status
	statusErr error
	found     []Finding
}

func (e *examination) fine(check, what string, args ...any) {
	e.found = append(e.found, Finding{Check: check, OK: true, What: fmt.Sprintf(what, args...)})
}

func (e *examination) wrong(check, do, what string, args ...any) {
	e.found = append(e.found, Finding{Check: check, What: fmt.Sprintf(what, args...), Do: do})
}

// attached reports whether hooks of a daemon are there, in whatever state.
func (e *examination) attached() bool { return e.hooksErr == nil && len(e.hooks) > 0 }

// programs are those of others at our hooks.
func (e *examination) programs() {
	others, err := capture.Attachments("", e.pins)
	if err != nil {
		e.wrong("programs", "run as root", "who stands at our hooks cannot be told: %v", err)
		return
	}
	root, _ := capture.Cgroup2()
	scope, _ := namesOf(e.config.Capture.Scope).Dirs(root) // what cannot be looked at has no program that can be told
	held := capture.Holders(programsOf(others)...)
	for _, a := range others {
		text := fmt.Sprintf("%s, held by %s", a, names(held[a.Program]))
		if blocks(a, root, scope) {
			e.wrong("programs", "stop it, or have it attach with BPF_F_ALLOW_MULTI as others do; we never detach it", "%s: nobody else can attach there or below", text)
			continue
		}
		e.fine("programs", "%s: it runs beside ours", text)
	}
	if len(others) == 0 {
		e.fine("programs", "nobody else stands at our hooks")
	}
}

func programsOf(list []capture.Attachment) []uint32 {
	programs := make([]uint32, len(list))
	for i, a := range list {
		programs[i] = a.Program
	}
	return programs
}

// blocks reports whether a program keeps ours away. Those stand at the root, and
// what fences a scope stands there.
func blocks(a capture.Attachment, root string, scope []string) bool {
	return a.Blocks() && (a.Cgroup == root || a.Hook == "egress" && slices.ContainsFunc(scope, func(dir string) bool {
		return dir == a.Cgroup || strings.HasPrefix(dir, a.Cgroup+"/")
	}))
}

func names(holders []capture.Holder) string {
	if len(holders) == 0 {
		return "its cgroup alone"
	}
	list := make([]string, len(holders))
	for i, h := range holders {
		list[i] = h.String()
	}
	return strings.Join(list, ", ")
}

func (e *examination) ownHooks() {
	if errors.Is(e.hooksErr, os.ErrNotExist) {
		if e.status != nil {
			e.wrong("hooks", "outwarden mends this itself within seconds; if not, restart it", "a daemon runs, but %s is gone", e.pins)
			return
		}
		e.fine("hooks", "none are attached, nothing is captured")
		return
	}
	if e.hooksErr != nil {
		e.wrong("hooks", "run as root", "%v", e.hooksErr)
		return
	}
	broken := 0
	for _, h := range e.hooks {
		if h.Err != nil {
			broken++
			e.wrong("hooks", "outwarden mends this itself within seconds; if not, restart it", "%s is not in force: %v", h.Hook, h.Err)
		}
	}
	if broken == 0 {
		e.fine("hooks", "%d are in force, pinned in %s", len(e.hooks), e.pins)
	}
}

func (e *examination) daemon() {
	switch {
	case e.statusErr == nil:
		e.fine("daemon", "version %s serves, pid %d", e.status.Version, e.status.PID)
	case e.attached():
		policy := "fail"
		if e.config.Capture.FailOpen {
			policy = "pass uncaptured"
		}
		e.wrong("daemon", "systemctl start outwarden; or `outwarden detach`, and workloads connect directly",
			"hooks are attached and no daemon answers, so connects in scope %s: %v", policy, e.statusErr)
	case errors.Is(e.statusErr, control.ErrNoDaemon):
		e.fine("daemon", "none is running")
	default:
		e.wrong("daemon", "see its log", "%v", e.statusErr)
	}
	if e.left != "" {
		e.wrong("daemon", "start the daemon, which takes them over or removes them; or `outwarden detach` once none runs",
			"hooks in %s are attached and no daemon serves them, so what they have in scope is answered by the fail policy", e.left)
	}
}

// addrs are where redirected connections arrive, as far as that can be known.
func (e *examination) addrs() (list []netip.AddrPort) {
	if e.status != nil {
		for _, s := range e.status.Capture.Listeners {
			if a, err := netip.ParseAddrPort(s); err == nil {
				list = append(list, a)
			}
		}
		return list
	}
	for _, port := range e.config.Capture.Listen {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), netip.AddrPortFrom(netip.IPv6Loopback(), port))
	}
	return list
}

func (e *examination) listeners() {
	addrs := e.addrs()
	found, err := capture.Listeners(e.pins, addrs)
	if err != nil {
		e.wrong("listeners", "run as root", "%v", err)
		return
	}
	for _, l := range found {
		who := cmp.Or(l.Exe, "a process out of sight")
		if l.Tagged {
			e.fine("listeners", "%s: %s (pid %d), known to the hooks", l.Addr, who, l.PID)
			continue
		}
		e.wrong("listeners", "stop it, or choose other ports in capture.listen; until then the hooks refuse its connections",
			"%s is held by %s (pid %d), who is not known to the hooks", l.Addr, who, l.PID)
	}
	if len(found) == 0 && e.status != nil {
		e.wrong("listeners", "run doctor in the network namespace of the daemon", "nobody listens on %v here", addrs)
	}
}
