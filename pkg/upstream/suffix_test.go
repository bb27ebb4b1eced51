package upstream

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestWildcardsOverPublicSuffixes: crypto/x509 accepts each of these.
func TestWildcardsOverPublicSuffixes(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	for _, tt := range []struct {
		host, names string
		refused     bool
	}{
		{"partner.com", "*.com", true},
		{"partner.com", "*.COM", true},
		{"partner.co.uk", "*.co.uk", true},
		{"partner.com", "other.com *.com", true},
		{"partner.com", "*.com partner.com", false},
		{"partner.com", "*.com PARTNER.com", false},
		{"api.partner.com", "*.partner.com", false},
		{"partner.github.io", "*.github.io", false}, // GitHub's own
		{"partner.test", "*.test", false},           // no registry has it
		{"partner.corp", "*.corp", false},
	} {
		o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{names: strings.Fields(tt.names)})}}})
		p := newPool(t, Options{Resolver: resolver(t, "127.0.0.1 "+tt.host)})
		to := target(o, root.pool(), func(t *Target) { t.Key.Host = tt.host })
		if tt.refused {
			refused(t, p, to, flow.ReasonUpstreamName)
			continue
		}
		c := mustGet(t, p, to)
		exchange(t, c)
		_ = c.Close()
	}
}
