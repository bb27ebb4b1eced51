package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// A chain is held, parsed, as long as its connection and its session are. Whoever rules
// an upstream says what is in it: within what crypto/tls reads there is room for 3 MB,
// and a workload of his can open connections by the thousand and leave sessions for a
// week. So there is an end to what is taken, which is OpenSSL's in bytes, and an earlier
// one to what is kept when nobody uses it.
const (
	maxChain      = 64        // certificates
	maxChainBytes = 100 << 10 // of them all
	maxResting    = 64 << 10  // weight of a chain whose connection is kept; that of a usual one is 10 KiB
	maxSession    = 32 << 10  // weight of chain and ticket of a session that is
)

// bounded refuses a chain that is there to fill our memory.
func bounded(chain []*x509.Certificate) error {
	switch n := size(chain); {
	case len(chain) > maxChain:
		return &weakError{fmt.Sprintf("%d certificates were sent, over %d", len(chain), maxChain)}
	case n > maxChainBytes:
		return &weakError{fmt.Sprintf("%d bytes were sent, over %d", n, maxChainBytes)}
	}
	return nil
}

func size(chain []*x509.Certificate) (n int) {
	for _, cert := range chain {
		n += len(cert.Raw)
	}
	return n
}

// weight is about what a chain takes in memory.
func weight(chain []*x509.Certificate) int {
	const parsed = 2 << 10 // that of the smallest certificate
	return size(chain) + len(chain)*parsed
}

// tooLarge reports whether a session is one to fill our memory with.
func (h *handshake) tooLarge(cs *tls.ClientSessionState) bool {
	ticket, _, err := cs.ResumptionState()
	return err != nil || len(ticket)+h.weight > maxSession
}
