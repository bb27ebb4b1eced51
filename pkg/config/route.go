package config

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
)

const (
	defaultSignedBody = 16 << 20
	defaultEditedBody = 1 << 20
	maxUID            = 1<<32 - 2 // the next is (uid_t)-1, nobody
	sha256Size        = 32
)

func (b *builder) route(doc *routeDoc) {
	r := Route{Position: doc.Name.at, Limits: Limits{defaultSignedBody, defaultEditedBody}}
	r.Action = policy.Intercept
	b.routeName(doc, &r)
	b.choice(doc.Action, policy.ParseAction, &r.Action)
	if b.oneOf(doc.Mode, "enforce", "report", "observe") != "" {
		r.Mode, _ = policy.ParseMode(doc.Mode.value)
	}
	if doc.From != nil {
		r.From = b.from(doc.From)
	}
	if doc.To != nil {
		r.To = b.to(doc.To)
	}
	r.Cleartext = doc.Cleartext.value
	if doc.Upstream != nil {
		r.Upstream = b.upstream(doc.Upstream)
	}
	r.Sign = b.sign(doc.Sign)
	r.Inject = b.injects(doc, r.Sign)
	r.Scrub = b.scrub(doc, &r)
	if doc.Limits != nil {
		r.Limits.SignedBody = cmp.Or(doc.Limits.SignedBody.value, r.Limits.SignedBody)
		r.Limits.EditedBody = cmp.Or(doc.Limits.EditedBody.value, r.Limits.EditedBody)
	}
	b.checkRoute(doc, &r)
	b.checkGuests(doc, &r)
	b.config.Routes = append(b.config.Routes, r)
}

func (b *builder) routeName(doc *routeDoc, r *Route) {
	name := doc.Name
	if name.absent() {
		r.Position = doc.At
		b.fail(doc.At, "name: is what the audit trail calls it", "route has no name")
		return
	}
	if !name.ok() || !b.validName(name, "route") {
		return
	}
	if first, ok := b.names[name.value]; ok {
		b.fail(name.at, "", "route %q is already defined at %s", name.value, first)
		return
	}
	b.names[name.value] = name.at
	r.Name = name.value
}

func (b *builder) from(doc *fromDoc) policy.From {
	f := policy.From{Exe: b.globs(doc.Exe, b.executable), Cgroups: b.globs(doc.Cgroup, b.cgroup)}
	f.Units = b.globs(doc.Unit, func(t text) bool { return b.unitName(t, "*") })
	for _, t := range doc.ExeSHA256 {
		digest := strings.ToLower(t.value)
		if raw, err := hex.DecodeString(digest); t.ok() && (err != nil || len(raw) != sha256Size) {
			b.fail(t.at, "64 hex digits, as sha256sum prints them", "%q is not a SHA-256 digest", t.value)
		}
		f.ExeSHA256 = append(f.ExeSHA256, digest)
	}
	f.Users = b.users(doc)
	f.Guests = b.guests(doc)
	return f
}

func (b *builder) users(doc *fromDoc) []string {
	var users []string
	for _, t := range doc.User {
		users = append(users, t.value)
	}
	if len(doc.User) > 0 && len(doc.UID) > 0 {
		b.fail(doc.UID[0].at, "user takes numbers too", "user and uid cannot stand together")
	}
	for _, uid := range doc.UID {
		if uid.value > maxUID {
			b.fail(uid.at, "", "%d is not a uid", uid.value)
		}
		users = append(users, strconv.FormatUint(uid.value, 10))
	}
	return users
}

func (b *builder) globs(texts list[text], check func(text) bool) []match.Glob {
	var globs []match.Glob
	for _, t := range texts {
		if !t.ok() || !check(t) {
			continue
		}
		glob, err := match.ParseGlob(t.value)
		if err != nil {
			b.fail(t.at, "", "%s", err)
			continue
		}
		globs = append(globs, glob)
	}
	return globs
}

func (b *builder) to(doc *toDoc) policy.To {
	to := policy.To{Ports: b.ports(doc.Ports)}
	for _, t := range doc.Host {
		if b.wholeURL(t) || b.hasUser(t) {
			continue
		}
		if host, ok := parsed(b, t, match.ParseHost, b.hostHint(t)); ok {
			to.Hosts = append(to.Hosts, host)
		}
	}
	for _, t := range doc.Paths {
		if b.wholeURL(t) || b.hasQuery(t) {
			continue
		}
		if path, ok := parsed(b, t, match.ParsePath, "as in /v1/** or /v1/*/items"); ok {
			to.Paths = append(to.Paths, path)
		}
	}
	for _, t := range doc.Methods {
		if t.ok() && !isToken(t.value) {
			b.fail(t.at, "", "%q is not a method", t.value)
		}
		to.Methods = append(to.Methods, strings.ToUpper(t.value))
	}
	return to
}

// wholeURL refuses a URL: people paste them, with a password or a key in them, which
// is not repeated.
func (b *builder) wholeURL(t text) bool {
	_, rest, ok := strings.Cut(t.value, "://")
	if !ok {
		return false
	}
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	hint := "write the name alone under host, and the path alone under paths"
	if host, _, _, err := match.SplitAuthority(authority[strings.LastIndexByte(authority, '@')+1:]); err == nil {
		hint = "write " + host + " alone under host, and the path under paths"
	}
	b.fail(t.at, hint, "a whole URL stands here")
	return true
}

// hasUser refuses what is left of a URL without its scheme: the password is not repeated.
func (b *builder) hasUser(t text) bool {
	at := strings.LastIndexByte(t.value, '@')
	if at >= 0 {
		b.fail(t.at, "write the name alone", "a user stands before host %q", t.value[at+1:])
	}
	return at >= 0
}

func (b *builder) hasQuery(t text) bool {
	path, _, ok := strings.Cut(t.value, "?")
	if ok {
		b.fail(t.at, "as in /v1/** or /v1/*/items", "path %q has a query behind it; paths are matched without", path)
	}
	return ok
}

// hostHint guesses what was meant.
func (b *builder) hostHint(t text) string {
	if host, _, hasPort, err := match.SplitAuthority(t.value); err == nil && hasPort {
		return "write " + host + " here and the port under ports"
	}
	for i := range len(t.value) {
		if t.value[i] >= 0x80 {
			return "write an internationalised name in its xn-- form"
		}
	}
	return ""
}

func parsed[T any](b *builder, t text, parse func(string) (T, error), hint string) (value T, ok bool) {
	if !t.ok() {
		return value, false
	}
	value, err := parse(t.value)
	if err != nil {
		b.fail(t.at, hint, "%s", err)
	}
	return value, err == nil
}

func (b *builder) upstream(doc *upstreamDoc) Upstream {
	u := Upstream{CA: b.material(doc.CA), AllowPrivate: doc.AllowPrivate.value}
	if doc.MTLS != nil {
		u.Certificate, u.Key = b.material(doc.MTLS.Cert), b.material(doc.MTLS.Key)
		if doc.MTLS.Cert.absent() || doc.MTLS.Key.absent() {
			b.fail(doc.MTLS.At, "", "mtls needs cert and key")
		}
	}
	if t := doc.EgressIP; t.ok() {
		addr, err := netip.ParseAddr(t.value)
		if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
			b.fail(t.at, "one address of this host", "%q is not an address to send from", t.value)
		}
		u.EgressIP = addr.Unmap()
	}
	return u
}

// checkRoute holds what concerns several keys at once.
func (b *builder) checkRoute(doc *routeDoc, r *Route) {
	if r.Action != policy.Intercept {
		b.checkUntouched(doc, r)
		return
	}
	if !r.Credentialed() {
		return
	}
	b.checkCredentialHosts(doc, r)
	if doc.From == nil || isEmpty(&r.From) {
		b.warn(r.Position, "route %q gives its credential to every process in scope; from: says which", r.Name)
	}
	for _, method := range []string{"TRACE", "OPTIONS", "CONNECT"} {
		if slices.Contains(r.To.Methods, method) {
			b.warn(r.Position, "route %q names %s, which never carries a credential", r.Name, method)
		}
	}
}

// scrub is on where there is something to look for.
func (b *builder) scrub(doc *routeDoc, r *Route) Scrub {
	secret := len(r.Inject) > 0 || r.Sign != nil
	switch said := b.oneOf(doc.Scrub, string(ScrubOn), string(ScrubOff), string(ScrubAlert)); {
	case said == "" && secret:
		return ScrubOn
	case said == "":
		return ScrubOff
	case !secret && said != string(ScrubOff):
		b.fail(doc.Scrub.at, "it looks for what inject and sign name", "route has no secret to look for")
		return ScrubOff
	default:
		return Scrub(said)
	}
}

func isEmpty(f *policy.From) bool { return len(f.Guests) == 0 && f.AnyProcess() }

// checkUntouched refuses on a route that does not decrypt, or does not send,
// what only decrypting and sending can do.
func (b *builder) checkUntouched(doc *routeDoc, r *Route) {
	why := "a route with action " + r.Action.String()
	const hint = "use action: intercept"
	for i := range doc.Inject {
		b.fail(doc.Inject[i].At, hint, "%s cannot inject a credential", why)
	}
	if doc.Sign != nil {
		b.fail(doc.Sign.At, hint, "%s cannot sign", why)
	}
	if r.Cleartext {
		b.fail(doc.Cleartext.at, hint, "%s has no credential to send in clear text", why)
	}
	if doc.Upstream != nil {
		b.checkUntouchedUpstream(doc.Upstream, r.Action, why)
	}
	if r.Action == policy.Passthrough && len(r.To.Methods)+len(r.To.Paths) > 0 {
		b.fail(doc.To.At, "use action: intercept without a credential", "%s cannot see methods or paths", why)
	}
}

func (b *builder) checkUntouchedUpstream(doc *upstreamDoc, action policy.Action, why string) {
	const hint = "use action: intercept"
	if doc.MTLS != nil {
		b.fail(doc.MTLS.At, hint, "%s cannot send a client certificate", why)
	}
	for key, at := range map[string]Position{"ca": doc.CA.at, "allow_private": doc.AllowPrivate.at} {
		if !at.IsZero() {
			b.fail(at, hint, "%s has no use for %s", why, key)
		}
	}
	if action == policy.Deny && !doc.EgressIP.absent() {
		b.fail(doc.EgressIP.at, "", "%s has no use for egress_ip", why)
	}
}

// checkCredentialHosts refuses a credential that goes to whoever is called, or
// that never could be sent: clients send no SNI for an address.
func (b *builder) checkCredentialHosts(doc *routeDoc, r *Route) {
	if len(r.To.Hosts) == 0 {
		if doc.To == nil || len(doc.To.Host) == 0 {
			b.fail(r.Position, "add to: {host: NAME}", "a route with a credential needs a host")
		}
		return
	}
	for i, host := range r.To.Hosts {
		if !host.Named() && len(doc.To.Host) == len(r.To.Hosts) {
			b.fail(doc.To.Host[i].at, "name the host as its certificate does", "a credential cannot go to %q", host)
		}
	}
}
