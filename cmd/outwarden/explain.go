package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
)

func newExplainCmd(e *env) *cobra.Command {
	var pid uint32
	var who process.Identity
	var at netip.Addr
	cmd := &cobra.Command{
		Use:   "explain [flags] [METHOD] URL",
		Short: "Would this process, calling this URL, get which credential, and why",
		Long: `Say what becomes of a request of a process in scope: by which route, with which
credentials, whereto, and why no other route. It asks nobody and sends nothing.`,
		Example: `  outwarden explain --pid 4711 POST https://api.partner.example/v1/transfers
  outwarden explain --exe /opt/billing/bin/export --user billing https://api.partner.example/v1/x`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			endBySignal()
			if err := oneCaller(cmd.Flags()); err != nil {
				return err
			}
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			caller, err := callerOf(pid, &who)
			if err != nil {
				return err
			}
			req, clear, err := question(caller, args)
			if err != nil {
				return err
			}
			req.Addr = at
			return explain(e, cfg, req, clear)
		},
	}
	flags := cmd.Flags()
	flags.Uint32Var(&pid, "pid", 0, "a running process")
	flags.TextVar(&at, "address", netip.Addr{}, "the address that the program connects to for it")
	flags.StringVar(&who.Exe, "exe", "", "or its executable,")
	flags.StringVar(&who.User, "user", "", "user,")
	flags.StringVar(&who.Unit, "unit", "", "systemd unit")
	flags.StringVar(&who.Cgroup, "cgroup", "", "and cgroup")
	return cmd
}

// methodBytes are those of a token (RFC 9110 section 5.6.2), in upper case.
const methodBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// question turns METHOD URL into what policy is asked, and whether in clear text.
func question(caller *process.Identity, args []string) (req *policy.Request, clear bool, err error) {
	method, target := "GET", args[len(args)-1]
	if len(args) == 2 {
		method = strings.ToUpper(args[0])
	}
	if strings.Trim(method, methodBytes) != "" || method == "" {
		return nil, false, usageError{fmt.Errorf("%q is no method", method), "as in: outwarden explain POST https://api.partner.example/v1/x"}
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return nil, false, usageError{fmt.Errorf("%q is no URL", target), "as in: outwarden explain https://api.partner.example/v1/x"}
	}
	host, port, hasPort, err := match.SplitAuthority(u.Host)
	if err != nil {
		return nil, false, usageError{err, "the URL's host is not a name that could be matched"}
	}
	if !hasPort {
		port = map[string]uint16{"http": 80, "https": 443}[u.Scheme]
	}
	if port == 0 {
		return nil, false, usageError{errors.New("neither http nor https, and no port"), "write the port into the URL"}
	}
	path := cmp.Or(u.EscapedPath(), "/") // as every client sends it
	return &policy.Request{Process: caller, Host: host, Port: port, Method: method, Path: path}, u.Scheme == "http", nil
}

type explanation struct {
	Decision    string   `json:"decision"`
	Route       string   `json:"route,omitempty"`
	Mode        string   `json:"mode"`
	Reason      string   `json:"reason,omitempty"`
	Credentials []string `json:"credentials,omitempty"`
	GoesTo      string   `json:"goes_to,omitempty"`
	Scope       string   `json:"scope,omitempty"`
	Steps       []string `json:"steps"`
}

func explain(e *env, cfg *config.Config, req *policy.Request, clear bool) error {
	out := notCaptured
	if slices.Contains(cfg.Capture.Ports, req.Port) {
		out = judge(cfg, req, clear)
	}
	if cgroup := req.Process.Cgroup; cgroup != "" && !cfg.Capture.InScope(cgroup) {
		out.Scope = "cgroup " + cgroup + " is not in it: nothing of this is done, unless it is one of `run`"
	}
	if e.json() {
		return writeJSON(e.stdout, out)
	}
	printExplanation(e, &out, req)
	return nil
}

// notCaptured is what no route is asked about.
var notCaptured = explanation{
	Decision: policy.Passthrough.String(), Mode: policy.Enforce.String(), Reason: flow.ReasonPortNotCaptured.String(),
	GoesTo: asked, Steps: []string{},
}

func judge(cfg *config.Config, req *policy.Request, clear bool) explanation {
	p := cfg.Policy()
	d := p.Decide(req)
	out := explanation{Decision: d.Action.String(), Route: d.Name, Mode: d.Mode.String(), Reason: d.Reason.String()}
	refused := withheld(cfg, d, req.Method, clear)
	if refused != flow.ReasonNone {
		out.Decision, out.Reason = policy.Deny.String(), refused.String()
	} else {
		if d.Route >= 0 && d.Effective() == policy.Intercept {
			out.Credentials = credentialNames(&cfg.Routes[d.Route])
		}
		out.GoesTo = goesTo(p, d, req.Host, req.Addr, len(out.Credentials) > 0, clear)
	}
	for _, s := range p.Explain(req) {
		mark := "no "
		if s.Matched {
			mark = "yes"
		}
		out.Steps = append(out.Steps, fmt.Sprintf("%s %s: %s", mark, s.Name, s.Why))
	}
	return out
}

// withheld is why a request is refused whatever its route decides: its credential
// would not be safe on it.
func withheld(cfg *config.Config, d policy.Decision, method string, clear bool) flow.Reason {
	if d.Effective() != policy.Intercept || d.Route < 0 {
		return flow.ReasonNone
	}
	r := &cfg.Routes[d.Route]
	switch {
	case inject.Forbidden(method, len(r.Inject) == 0 && r.Sign == nil):
		return flow.ReasonMethodForbids
	case clear && !r.Cleartext && (r.Credentialed() || r.Upstream.EgressIP.IsValid()):
		return flow.ReasonCleartext
	}
	return flow.ReasonNone
}

func printExplanation(e *env, x *explanation, req *policy.Request) {
	p := painter{e.colour()}
	colour := green
	if x.Decision == policy.Deny.String() {
		colour = red
	}
	fmt.Fprintf(e.stdout, "%s %s\n", p.in(colour, x.Decision), audit.Printable(fmt.Sprintf("%s %s:%d%s", req.Method, req.Host, req.Port, req.Path)))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(e.stdout, "  %-12s %s\n", name, audit.Printable(value)) // anybody may choose a program's name
		}
	}
	line("route", x.Route)
	line("mode", x.Mode)
	line("reason", x.Reason)
	line("credentials", orNone(strings.Join(x.Credentials, ", "), "none"))
	line("goes to", x.GoesTo)
	line("scope", x.Scope)
	for _, s := range x.Steps {
		line("considered", s)
	}
}

const asked = "the address that the program connects to"

// goesTo says which address is dialled for a request that is decided so; "" if none is.
// Where the address that the program connects to is not told, only a route for every
// host names it.
func goesTo(p *policy.Policy, d policy.Decision, host string, at netip.Addr, credential, clear bool) string {
	switch action := d.Effective(); {
	case action == policy.Deny:
		return ""
	case action == policy.Intercept && credential:
		return "our resolver's answer for " + host
	case action == policy.Intercept && !clear:
		return asked + ", if its certificate is for " + host
	case p.ByName(d, at):
		return asked + ", if it is one of " + host + " or the route names it; else our resolver's answer"
	}
	return asked
}

// credentialNames lists what a route adds, with its form.
func credentialNames(r *config.Route) []string {
	var names []string
	for _, in := range r.Inject {
		for _, name := range in.Secrets() {
			names = append(names, name+" ("+string(in.Form)+")")
		}
	}
	if r.Sign != nil {
		secrets, schemes := r.Sign.Secrets()
		for i := range secrets {
			names = append(names, secrets[i]+" (signature "+schemes[i]+")")
		}
	}
	if !r.Upstream.Certificate.IsZero() {
		names = append(names, "client certificate")
	}
	if ip := r.Upstream.EgressIP; ip.IsValid() {
		names = append(names, "egress IP "+ip.String())
	}
	return names
}
