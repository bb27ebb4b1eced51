package config

import (
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
)

// Sign is the signatures to put on a request; at least one. They are made in this
// order, each over what those before it wrote.
type Sign struct {
	HMAC    *HMAC
	HTTPSig *HTTPSig
	SigV4   []SigV4 // the one whose placeholder the request names signs it
	// RefuseReplays refuses a request that bears a signature of the workload's which
	// was seen before.
	RefuseReplays bool
}

// HMAC is a signature with a shared key (package hmacsig).
type HMAC struct {
	Keys     []string         // names in Config.Secrets; several where the field is a list of signatures
	Template hmacsig.Template // of the preset, or what the route says
	Nonce    bool
	KeyID    string // for the record; "" is the secret's name
}

// HTTPSig is a message signature (RFC 9421).
type HTTPSig struct {
	Secret     string // name in Config.Secrets, of the private key in PEM or a shared key
	Algorithm  string
	KeyID      string
	Label, Tag string
	Components []string      // as httpsig.ParseComponent reads them; a "?" behind one: where the request has it
	Digests    []string      // algorithms of the Content-Digest (RFC 9530)
	Life       time.Duration // from created to expires; 0: it does not expire
	Bot        bool          // as Web Bot Auth asks for
	Agent      string        // its Signature-Agent, "" = none
}

// SigV4 is one AWS credential.
type SigV4 struct {
	AccessKey    string // the id, or secret:NAME
	Secret       string // name in Config.Secrets, of the secret access key
	SessionToken string // likewise; "" = none
	// Placeholder is the access key id that the workload holds to ask for this
	// credential; "" = any that is not the real one.
	Placeholder string
	// Regions and Services are those that it may sign for; the workload's own
	// signature says which. Where it has none the first of each is meant.
	Regions, Services []string
}

// Secrets are the names in Config.Secrets that the signatures are made with or go
// out beside them, and of what scheme each is. An access key id is no secret.
func (s *Sign) Secrets() (names, schemes []string) {
	add := func(name, scheme string) { names, schemes = append(names, name), append(schemes, scheme) }
	if s.HMAC != nil {
		for _, key := range s.HMAC.Keys {
			add(key, s.HMAC.Template.Name)
		}
	}
	if s.HTTPSig != nil {
		add(s.HTTPSig.Secret, "httpsig")
	}
	for i := range s.SigV4 {
		add(s.SigV4[i].Secret, "sigv4")
		if token := s.SigV4[i].SessionToken; token != "" {
			add(token, "sigv4")
		}
	}
	return names, schemes
}
