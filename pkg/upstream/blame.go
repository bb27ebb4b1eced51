package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Blame says what ended TLS with an upstream, and what in our client certificate may be
// why; "" where err is no alert. In TLS 1.3 it is the error of the first Read: an
// upstream looks at a client certificate when we are done.
func (c *Conn) Blame(err error) string {
	if alert := alertOf(err); alert != nil {
		return fmt.Sprintf("the upstream ends TLS with %q%s", alert, c.auth.suspicion())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "local error" && op.Err.Error() == "tls: no renegotiation" {
		return "the upstream wants another TLS handshake after the request, which is refused; is it to ask for the client certificate, it has to do so in the first"
	}
	return ""
}

// alertOf is the peer's alert, which crypto/tls wraps in a net.OpError; nil: err is
// something else.
func alertOf(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return op.Err
	}
	return nil
}

// clientAuth is what there was to a client certificate in a handshake.
type clientAuth struct {
	certificate        *tls.Certificate // the profile's; nil: none
	asked, presentable bool             // by the upstream; among what it takes
}

// suspicion is what may have led to an alert.
func (m *clientAuth) suspicion() string {
	cert := m.certificate
	switch {
	case cert == nil || !m.asked:
		return ""
	case !m.presentable:
		return "; the client certificate was not sent: the upstream names authorities, and none issued what is in its file. Are the issuers in between behind it there?"
	case cert.Leaf != nil && time.Now().After(cert.Leaf.NotAfter):
		return "; the client certificate has expired: " + cert.Leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}
