package proxy

import (
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
)

// decide takes the connection-level decision from who calls and which name it
// asks for. A decision per request follows and may only narrow it.
func (c *conn) decide() policy.Action {
	switch c.proto {
	case protoTLS:
		return c.decideTLS()
	case protoHTTP1, protoHTTP2:
		// Plain HTTP names its host in each request, so each is decided on
		// its own and nothing is carried unseen.
		c.decision = policy.Decision{Route: -1, Action: policy.Intercept}
		return policy.Intercept
	default:
		return c.decideUnknown(flow.ReasonNotHTTP)
	}
}

func (c *conn) decideTLS() policy.Action {
	name, err := match.CanonicalHost(c.hello.ServerName)
	if err != nil {
		reason := flow.ReasonNoServerName
		if c.hello.ECH {
			reason = flow.ReasonEncryptedHello
		}
		return c.decideUnknown(reason)
	}
	c.name = name
	c.routes = c.snap.Policy.Shortlist(c.question(name))
	c.decision = c.routes.Connection()
	return c.decision.Effective()
}

// decideUnknown decides for a connection that tells no name: by the address it
// meant to reach.
func (c *conn) decideUnknown(why flow.Reason) policy.Action {
	name := c.flow.Original.Addr().String()
	c.routes = c.snap.Policy.Shortlist(c.question(name))
	c.decision = c.routes.Connection()
	if c.decision.Route < 0 {
		c.decision.Reason = why
	}
	action := c.decision.Effective()
	if action == policy.Intercept && c.proto == protoOpaque {
		return policy.Passthrough // there is nothing to terminate
	}
	if c.proto == protoTLS {
		c.name = name // a leaf for the literal address
	}
	return action
}

func (c *conn) question(host string) *policy.Request {
	to := c.flow.Original
	return &policy.Request{Process: c.process, Guest: c.flow.GuestAddr(), Host: host, Addr: to.Addr(), Port: to.Port()}
}

// deny ends a connection by policy. Before TLS there is no polite way to say
// so that every client shows; a reset fails at once and says "refused".
func (c *conn) deny() {
	c.reset()
	c.recordConnection(&audit.Record{
		SNI: c.hello.ServerName, Route: c.decision.Name, Decision: policy.Deny.String(), Reason: c.decision.Reason.String(),
		DurationMS: milliseconds(time.Since(c.started)),
	})
}
