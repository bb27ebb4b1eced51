package secret

import "strings"

const refPrefix = "secret:"

// ParseRef returns NAME of a reference "secret:NAME", and whether s is one.
func ParseRef(s string) (name string, ok bool) {
	name, ok = strings.CutPrefix(s, refPrefix)
	return name, ok && name != ""
}
