package config

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

const (
	defaultState = "/var/lib/outwarden"
	defaultRun   = "/run/outwarden"
	defaultPins  = "/sys/fs/bpf/outwarden"
	dnsPort      = 53
	defaultDrain = 30 * time.Second
)

// builder turns documents into a Config, checking as it goes.
type builder struct {
	report
	config    Config
	documents []*document
	used      map[string]bool     // secrets that something refers to
	names     map[string]Position // of routes
}

func newBuilder() *builder {
	return &builder{
		config: Config{
			StateDir: defaultState,
			RunDir:   defaultRun,
			Drain:    defaultDrain,
			Secrets:  map[string]Source{},
			Capture:  Capture{Scope: []Target{{Cgroup: "/"}}, PinDir: defaultPins},
		},
		used:  map[string]bool{},
		names: map[string]Position{},
	}
}

// build works in the order of what refers to what: secrets, routes, capture.
func (b *builder) build() {
	for _, doc := range b.documents {
		b.secrets(doc.Secrets)
	}
	main := b.documents[0]
	b.host(main)
	for _, doc := range b.documents {
		for i := range doc.Routes {
			b.route(&doc.Routes[i])
		}
	}
	b.capture(main.Capture)
	b.unused()
	if len(b.errors) == 0 {
		b.shadowed()
	}
}

func (b *builder) host(doc *document) {
	b.choice(doc.Default, policy.ParseAction, &b.config.Default)
	b.path(doc.StateDir, &b.config.StateDir)
	b.path(doc.RunDir, &b.config.RunDir)
	b.socketsFit(doc.RunDir)
	if doc.Drain.value > 0 {
		b.config.Drain = doc.Drain.value
	}
	if doc.Authority != nil {
		b.tpm(doc.Authority.TPM)
	}
	if doc.DNS != nil {
		for _, server := range doc.DNS.Servers {
			b.server(server)
		}
	}
	if doc.Audit != nil {
		b.config.Audit.Synced = b.oneOf(doc.Audit.Durability, "process", "synced") == "synced"
		b.config.Audit.AllowOnFailure = b.oneOf(doc.Audit.OnFailure, "block", "allow") == "allow"
	}
}

// socketsFit refuses a run_dir in which no socket can lie: its path has 107 bytes at
// most (unix(7)), and the longest of our names is handover.sock.
func (b *builder) socketsFit(t text) {
	const most = 107 - len("/handover.sock")
	if len(b.config.RunDir) > most {
		b.fail(t.at, "as in /run/outwarden", "run_dir %s has more than %d bytes, and no socket fits into it", b.config.RunDir, most)
	}
}

// tpm is a device, or a socket with unix: before its path.
func (b *builder) tpm(t text) {
	const unix = "unix:"
	if !t.ok() {
		return
	}
	path, socket := strings.CutPrefix(t.value, unix)
	if path == "" || !socket && !strings.HasPrefix(path, "/dev/") {
		b.fail(t.at, "as in /dev/tpmrm0, or unix:/run/swtpm/socket", "%q is not a TPM", t.value)
		return
	}
	t.value = path
	b.path(t, &b.config.Authority.TPM)
	if socket {
		b.config.Authority.TPM = unix + b.config.Authority.TPM
	}
}

func (b *builder) server(t text) {
	if !t.ok() {
		return
	}
	server, err := netip.ParseAddrPort(t.value)
	if err != nil {
		var addr netip.Addr
		addr, err = netip.ParseAddr(t.value)
		server = netip.AddrPortFrom(addr, dnsPort)
	}
	if err != nil || server.Port() == 0 || server.Addr().IsUnspecified() {
		b.fail(t.at, "as in 192.0.2.53 or 192.0.2.53:5353 or [2001:db8::53]:53", "%q is not the address of a server", t.value)
		return
	}
	b.config.DNS.Servers = append(b.config.DNS.Servers, server)
}

// choice parses a value that has a parser of its own; an absent one leaves
// target as it is.
func (b *builder) choice(t text, parse func(string) (policy.Action, error), target *policy.Action) {
	if !t.ok() {
		return
	}
	action, err := parse(t.value)
	if err != nil {
		b.fail(t.at, DidYouMean(t.value, []string{"intercept", "passthrough", "deny"}), "%s", err)
		return
	}
	*target = action
}

// oneOf returns the value if it is one of the known, "" if it is absent.
func (b *builder) oneOf(t text, known ...string) string {
	if t.ok() && !slices.Contains(known, t.value) {
		b.fail(t.at, DidYouMean(t.value, known), "%q is not among %s", t.value, strings.Join(known, ", "))
		return ""
	}
	return t.value
}

// path makes a path absolute: a relative one is relative to the file that names
// it. A key that was pasted here would stand in the error of whoever opens it.
func (b *builder) path(t text, target *string) {
	if !t.ok() {
		return
	}
	path := t.value
	if strings.Contains(path, "-----BEGIN ") {
		b.fail(t.at, "put it into a file, and write the file's path here", "PEM stands here, not the path of a file that holds it")
		return
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		b.fail(t.at, "write the whole path", "~ is no home here, but a directory of that name")
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(t.at.File), path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		b.fail(t.at, "write an absolute path", "%q has no directory to start from", t.value)
		return
	}
	*target = absolute
}

func (b *builder) secrets(docs named[secretDoc]) {
	for i := range docs {
		name, doc := docs[i].name, &docs[i].value
		if !name.ok() || !b.validName(name, "secret") {
			continue
		}
		if first, ok := b.config.Secrets[name.value]; ok {
			b.fail(name.at, "", "secret %q is already defined at %s", name.value, first.Position)
			continue
		}
		src := Source{Systemd: doc.Systemd.value, Position: name.at}
		b.path(doc.File, &src.File)
		if doc.SPIFFE != nil {
			src.SPIFFE = b.spiffe(doc.SPIFFE)
		}
		if sources(doc) != 1 {
			b.fail(name.at, "as in {file: PATH}, {systemd: NAME} or {spiffe: {socket: PATH, type: x509}}", "secret %q needs one source", name.value)
		}
		if strings.Contains(src.Systemd, "/") {
			b.fail(doc.Systemd.at, "for a path, write {file: PATH}", "a systemd credential has a name, without a slash")
		}
		b.config.Secrets[name.value] = src
	}
}

func sources(doc *secretDoc) (n int) {
	for _, present := range []bool{!doc.File.absent(), !doc.Systemd.absent(), doc.SPIFFE != nil} {
		if present {
			n++
		}
	}
	return n
}

func (b *builder) spiffe(doc *spiffeDoc) SPIFFE {
	s := SPIFFE{Type: b.oneOf(doc.Type, "x509", "bundle", "jwt"), ID: doc.ID.value, Audience: doc.Audience.value}
	if doc.Socket.absent() || doc.Type.absent() {
		b.fail(doc.At, "as in {socket: /run/spire/agent.sock, type: x509}", "spiffe needs socket and type")
	}
	doc.Socket.value = strings.TrimPrefix(doc.Socket.value, "unix://")
	b.path(doc.Socket, &s.Socket)
	if (s.Type == "jwt") == doc.Audience.absent() && s.Type != "" {
		b.fail(doc.At, "a token is for somebody, a certificate is not", "audience goes with type jwt and with no other")
	}
	if !doc.ID.absent() && !strings.HasPrefix(s.ID, "spiffe://") {
		b.fail(doc.ID.at, "as in spiffe://example.org/billing", "%q is not a SPIFFE ID", s.ID)
	}
	return s
}

const maxNameLength = 128

func (b *builder) validName(t text, what string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if strings.Trim(t.value, allowed) != "" || len(t.value) > maxNameLength {
		b.fail(t.at, "letters, digits, dots, hyphens and underscores", "%q is not a name for a %s", t.value, what)
		return false
	}
	return true
}

// reference returns NAME of secret:NAME. A value that is no reference may be a
// secret itself, so it is not repeated in the error.
func (b *builder) reference(t text, key string) string {
	if !t.ok() {
		return ""
	}
	name, ok := secret.ParseRef(t.value)
	if !ok {
		b.fail(t.at, "name it under secrets, with {file: PATH}, and write secret:NAME here", "%s must be a reference, secret:NAME", key)
		return ""
	}
	b.secretNamed(t.at, name)
	return name
}

func (b *builder) secretNamed(at Position, name string) {
	b.used[name] = true
	if _, ok := b.config.Secrets[name]; ok {
		return
	}
	var known []string
	for _, doc := range b.documents {
		for i := range doc.Secrets {
			known = append(known, doc.Secrets[i].name.value)
		}
	}
	if slices.Contains(known, name) {
		return // defined, and reported there
	}
	hint := DidYouMean(name, known)
	if hint == "" {
		hint = "define it under secrets"
	}
	b.fail(at, hint, "no secret is named %q", name)
}

// material is a path or a secret:NAME.
func (b *builder) material(t text) (m Material) {
	if name, ok := secret.ParseRef(t.value); ok {
		b.secretNamed(t.at, name)
		return Material{Secret: name}
	}
	b.path(t, &m.File)
	return m
}

func (b *builder) unused() {
	for name, src := range b.config.Secrets {
		if !b.used[name] {
			b.warn(src.Position, "secret %q is not used", name)
		}
	}
}

func (b *builder) shadowed() {
	for _, c := range b.config.Policy().Conflicts() {
		b.warn(b.config.Routes[c.Route].Position, "%s", c)
	}
}
