package upstream

import (
	"crypto/x509"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// suffixError is a leaf that is for its host only by a wildcard over a public
// suffix.
type suffixError struct{ wildcard string }

func (e *suffixError) Error() string {
	return "certificate is for " + e.wildcard + ", which spans a public suffix"
}

// owned refuses a leaf for *.com or *.co.uk, which crypto/x509 takes for every
// name below: no one owns them all. Suffixes that are somebody's, as github.io,
// are left to their owner, and so are those that only private networks know.
func owned(leaf *x509.Certificate, host string) error {
	_, parent, ok := strings.Cut(host, ".")
	if !ok {
		return nil
	}
	wild := ""
	for _, name := range leaf.DNSNames {
		if strings.EqualFold(name, host) {
			return nil
		}
		if rest, ok := strings.CutPrefix(name, "*."); ok && strings.EqualFold(rest, parent) {
			wild = name
		}
	}
	if wild == "" {
		return nil
	}
	if suffix, public := publicsuffix.PublicSuffix(parent); public && suffix == parent {
		return &suffixError{wild}
	}
	return nil
}
