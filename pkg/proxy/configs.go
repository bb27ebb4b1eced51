package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// configs keeps one tls.Config per name, protocol and kind of key exchange. Each has session ticket
// keys of its own, so a ticket for one name is never accepted for another.
type configs struct {
	mu          sync.Mutex
	young, aged map[configKey]dated
}

type configKey struct {
	name, alpn string
	elliptic   bool // keys are exchanged on elliptic curves alone
}

// dated is a config and when it was made.
type dated struct {
	config *tls.Config
	made   time.Time
}

// ticketLife is how long a config is used, and with it the session ticket keys
// that crypto/tls made for it. By itself that takes tickets for 7 days, and tells
// clients of TLS 1.3 so: a day is what a leaf lives.
const ticketLife = 24 * time.Hour

func (d dated) usable(now time.Time) bool { return d.config != nil && now.Sub(d.made) < ticketLife }

// generation bounds the names kept: at most twice as many, the unused half of
// which goes when the young map is full.
const generation = 4096

// aeadSuites are what TLS 1.2 clients may have: forward secret and
// authenticated. Leaves are ECDSA. TLS 1.3 has its own, all of that kind.
var aeadSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
}

// curves are the groups that cost the least, and that nearly every workload
// sends a key share of, beside a post-quantum one or alone.
var curves = []tls.CurveID{tls.X25519, tls.CurveP256}

func (s *configs) get(key configKey, leaves Leaves) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if d := s.young[key]; d.usable(now) {
		return d.config
	}
	d := s.aged[key]
	if !d.usable(now) {
		d = dated{serverConfig(key, leaves), now}
	}
	if s.young == nil || len(s.young) >= generation {
		s.young, s.aged = make(map[configKey]dated), s.young
	}
	s.young[key] = d
	return d.config
}

// forget drops every config and with it every session ticket key, as a new
// authority demands.
func (s *configs) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.young, s.aged = nil, nil
}

func serverConfig(key configKey, leaves Leaves) *tls.Config {
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: aeadSuites,
		// The workload is on this host: no slow link makes it wait for the end of
		// a large record.
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			leaf, err := leaves.CertificateFor(WorkloadOf(hello.Context()), key.name)
			if err != nil {
				return nil, &leafError{err}
			}
			return leaf, nil
		},
	}
	if key.alpn != "" {
		cfg.NextProtos = []string{key.alpn}
	}
	if key.elliptic {
		cfg.CurvePreferences = curves
	}
	return cfg
}

// askedBy is the context of a workload's handshake: one config serves all
// workloads, and each is charged for the leaves that it needs minted. It never
// ends, for one that can costs a goroutine that waits for it.
func askedBy(cgroup uint64) context.Context {
	return context.WithValue(context.Background(), workloadKey{}, cgroup)
}

type workloadKey struct{}

// WorkloadOf tells for which workload something is done in the context of a
// connection, as flow.Flow.Workload does; 0: for none.
func WorkloadOf(ctx context.Context) uint64 {
	workload, _ := ctx.Value(workloadKey{}).(uint64)
	return workload
}

// leafError says that we are why a handshake failed.
type leafError struct{ err error }

func (e *leafError) Error() string { return "leaf: " + e.err.Error() }
func (e *leafError) Unwrap() error { return e.err }

// isRemoteAlert reports whether err is an alert the peer sent. crypto/tls
// wraps those in a net.OpError that says "remote error".
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
