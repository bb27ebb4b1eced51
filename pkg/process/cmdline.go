package process

import (
	"bytes"
	"strings"
)

// Bounds of Identity.Argv. The rest is cut, and a cut argument ends at a whole
// character.
const (
	MaxArgs     = 64
	MaxArgBytes = 4 << 10
)

// parseCmdline splits /proc/PID/cmdline at its NULs. Bytes that are not UTF-8
// become U+FFFD, as every JSON reader would show them.
func parseCmdline(b []byte) []string {
	b = b[:min(len(b), MaxArgBytes)]
	b = bytes.TrimSuffix(b, []byte{0})
	if len(b) == 0 {
		return nil
	}
	parts := bytes.SplitN(b, []byte{0}, MaxArgs+1)
	parts = parts[:min(len(parts), MaxArgs)]
	argv, left := make([]string, 0, len(parts)), MaxArgBytes
	for _, p := range parts {
		s := clip(strings.ToValidUTF8(string(p), "\uFFFD"), left)
		argv, left = append(argv, s), left-len(s)
	}
	return argv
}

// clip cuts s to at most n bytes without splitting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
