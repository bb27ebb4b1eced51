package config

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

const (
	portHTTP  = 80
	portHTTPS = 443
	maxPort   = 1<<16 - 1
	maxMark   = 1<<32 - 1
)

func (b *builder) capture(doc *captureSection) {
	c := &b.config.Capture
	if doc == nil {
		doc = &captureSection{}
	}
	if len(doc.Scope) > 0 {
		c.Scope = b.targets(doc.Scope)
	}
	c.Exclude = b.targets(doc.Exclude)
	b.contradiction(doc)
	c.FailOpen = b.oneOf(doc.Fail, "closed", "open") == "open"
	c.AllowRaw = b.oneOf(doc.Raw, "refuse", "record") == "record"
	c.Reset = b.oneOf(doc.Existing, "record", "reset") == "reset"
	b.path(doc.PinDir, &c.PinDir)
	c.Listen = b.ports(doc.Listen)
	if doc.Mark.value > maxMark {
		b.fail(doc.Mark.at, "", "mark has more than 32 bits")
	}
	c.Mark = uint32(doc.Mark.value)
	b.backend(doc)
	b.capturedPorts(doc)
	b.wholeHost(doc)
}

// contradiction warns of what is in scope and excluded at once: the exclusion holds.
func (b *builder) contradiction(doc *captureSection) {
	c := &b.config.Capture
	if len(c.Exclude) < len(doc.Exclude) {
		return // some are refused already
	}
	for i, t := range c.Exclude {
		if slices.Contains(c.Scope, t) {
			b.warn(doc.Exclude[i].At, "%s is in scope and excluded: of it nothing is captured but what `run` starts", cmp.Or(t.Cgroup, t.Unit))
		}
	}
}

// wholeHost warns of what nobody means who captures everything.
func (b *builder) wholeHost(doc *captureSection) {
	c := &b.config.Capture
	if c.AllowRaw || !doc.Raw.absent() { // or it is meant
		return
	}
	if i := slices.Index(c.Scope, Target{Cgroup: "/"}); i >= 0 && i < len(doc.Scope) {
		b.warn(doc.Scope[i].At, "the scope is the whole host, whose own ping, DHCP and routing daemons use raw sockets, which are refused; raw: record lets them pass, and raw: refuse says that it is meant")
	}
}

// capturedPorts are those that are written, else the usual two and those that
// routes name.
func (b *builder) capturedPorts(doc *captureSection) {
	c := &b.config.Capture
	c.Ports = b.ports(doc.Ports)
	explicit := len(doc.Ports) > 0
	if !explicit {
		c.Ports = []uint16{portHTTP, portHTTPS}
	}
	for i := range b.config.Routes {
		route := &b.config.Routes[i]
		for _, port := range route.To.Ports {
			if !explicit {
				c.Ports = append(c.Ports, port)
			} else if !slices.Contains(c.Ports, port) {
				b.warn(route.Position, "route %q names port %d, which capture.ports leaves out", route.Name, port)
			}
		}
	}
	slices.Sort(c.Ports)
	c.Ports = slices.Compact(c.Ports)
}

func (b *builder) targets(docs list[targetDoc]) []Target {
	var targets []Target
	for i := range docs {
		doc := &docs[i]
		switch {
		case doc.Cgroup.absent() == doc.Unit.absent():
			b.fail(doc.At, "as in {cgroup: /system.slice} or {unit: ssh.service}", "needs one of cgroup and unit")
		case doc.Unit.ok() && b.unitName(doc.Unit, ""):
			targets = append(targets, Target{Unit: doc.Unit.value})
		case doc.Cgroup.ok() && b.cgroupPath(doc.Cgroup):
			targets = append(targets, Target{Cgroup: path.Clean(doc.Cgroup.value)})
		}
	}
	return targets
}

// InScope reports whether connections from a cgroup are captured, by its path: what is
// said of it, or else of the nearest that it is in, holds. `run` captures others beside.
func (c *Capture) InScope(cgroup string) bool {
	for at := path.Clean(cgroup); ; at = path.Dir(at) {
		names := func(t Target) bool { return t.names(at) }
		switch {
		case slices.ContainsFunc(c.Exclude, names):
			return false
		case slices.ContainsFunc(c.Scope, names):
			return true
		case len(at) <= 1:
			return false
		}
	}
}

// names reports whether a target is the cgroup of that path. A unit is one by its name,
// wherever slices alone stand above it.
func (t Target) names(cgroup string) bool {
	if t.Cgroup != "" {
		return t.Cgroup == cgroup
	}
	dir, name := path.Split(cgroup)
	for _, above := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		if !strings.HasSuffix(above, ".slice") {
			return false
		}
	}
	return name == t.Unit
}

func (b *builder) cgroupPath(t text) bool {
	if strings.HasPrefix(t.value, "/") && !strings.Contains(t.value+"/", "/../") && !strings.Contains(t.value, "*") {
		return true
	}
	b.fail(t.at, "as in /system.slice; what lies below is included", "%q is not a cgroup's path", t.value)
	return false
}

// unitName checks that a unit has its type, without which it matches nothing.
func (b *builder) unitName(t text, wildcards string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.@\\"
	if strings.Trim(t.value, allowed+wildcards) != "" {
		b.fail(t.at, "as in billing.service", "%q is not a unit", t.value)
		return false
	}
	if !strings.ContainsAny(t.value, "."+wildcards) {
		b.fail(t.at, "did you mean "+t.value+".service?", "unit %q has no type", t.value)
		return false
	}
	return true
}

func (b *builder) ports(docs list[number]) []uint16 {
	var ports []uint16
	for _, doc := range docs {
		switch {
		case !doc.sound:
		case doc.value < 1 || doc.value > maxPort:
			b.fail(doc.at, "", "%d is not a port", doc.value)
		case slices.Contains(ports, uint16(doc.value)):
			b.fail(doc.at, "", "port %d stands here twice", doc.value)
		default:
			ports = append(ports, uint16(doc.value))
		}
	}
	return ports
}
