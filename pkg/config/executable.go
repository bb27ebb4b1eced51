package config

import (
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// The kernel names an executable and a cgroup by the one way that leads there from the
// root: without links, dots, or a slash at the end. What is written in another way
// matches nothing, and the rule that it stands in does not hold.

func (b *builder) executable(t text) bool {
	ok := b.rooted(t, "write "+strconv.Quote("**/"+t.value)+" for one in any directory") && b.asNamed(t)
	if ok {
		b.linked(t)
	}
	return ok
}

func (b *builder) cgroup(t text) bool {
	return b.rooted(t, "write "+strconv.Quote("/"+t.value)) && b.asNamed(t)
}

// rooted refuses a pattern that no absolute path matches.
func (b *builder) rooted(t text, hint string) bool {
	if strings.HasPrefix(t.value, "/") || t.value == "**" || strings.HasPrefix(t.value, "**/") {
		return true
	}
	b.fail(t.at, hint, "%q is not an absolute path", t.value)
	return false
}

// asNamed refuses a pattern that no path matches as the kernel writes it.
func (b *builder) asNamed(t text) bool {
	clean := path.Clean(t.value)
	if clean == t.value {
		return true
	}
	hint := "write " + strconv.Quote(clean)
	if clean+"/" == t.value {
		hint = "write " + strconv.Quote(t.value+"**") + " for all that lies in it"
	}
	b.fail(t.at, hint, "%q is not how the kernel writes a path, and never matches", t.value)
	return false
}

// linked warns of a pattern that leads over a link, as /bin/curl does where /bin is
// /usr/bin. It is no error: in a container there may be no such link.
func (b *builder) linked(t text) {
	fixed, wild, any := strings.Cut(t.value, "*")
	if any {
		fixed = fixed[:strings.LastIndexByte(fixed, '/')+1]
		wild = t.value[len(fixed):]
	}
	if real, err := filepath.EvalSymlinks(fixed); err == nil && real != path.Clean(fixed) {
		b.warn(t.at, "%q leads over a link and matches nothing on this host, where the kernel says %q", t.value, path.Join(real, wild))
	}
}
