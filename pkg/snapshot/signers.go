package snapshot

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// Signing is what the signatures of all routes have in common, over reloads.
type Signing struct {
	// Seen are the signatures of workloads that were seen. It must be set before a
	// route that refuses replays is built; who sets it closes it.
	Seen atomic.Pointer[replay.Cache]

	seconds, millis, aws *replay.Clock
}

// How far times of signatures may run ahead of the clock, so that they rise with
// each one. Receivers allow a minute or more; AWS signs no nonce, and its SDKs send
// many requests a second, so there little is borrowed.
const (
	ahead    = 30 * time.Second
	awsAhead = 5 * time.Second
)

// NewSigning returns clocks that begin now.
func NewSigning() *Signing {
	return &Signing{
		seconds: replay.NewClock(time.Second, ahead, nil),
		millis:  replay.NewClock(time.Millisecond, ahead, nil),
		aws:     replay.NewClock(time.Second, awsAhead, nil),
	}
}

// signers are those of a route, in the order in which they sign.
func (b *builder) signers(s *config.Sign) ([]inject.Signer, error) {
	if s == nil {
		return nil, nil
	}
	var out []inject.Signer
	for _, make := range []func(*config.Sign) (inject.Signer, error){b.hmac, b.httpsig, b.sigv4} {
		var signer inject.Signer
		if err := b.part(func() (err error) { signer, err = make(s); return err }); err != nil {
			return nil, err
		}
		if signer != nil {
			out = append(out, signer)
		}
	}
	return out, nil
}

func (b *builder) hmac(s *config.Sign) (inject.Signer, error) {
	h := s.HMAC
	if h == nil {
		return nil, nil
	}
	keys, version, err := b.keys(h.Keys...)
	if err != nil {
		return nil, err
	}
	name := strings.Join(h.Keys, ",")
	if scheme, err := hmacsig.Preset(h.Template.Name); err == nil {
		return &inject.HMAC{
			Name: name, Version: version, Scheme: scheme, Key: keys[0], KeyID: h.KeyID, Nonce: h.Nonce, Clock: b.signing.seconds,
		}, nil
	}
	scheme, err := h.Template.Compile()
	if err != nil {
		return nil, err
	}
	t := &inject.Template{
		Name: name, Version: version, Scheme: scheme, Keys: keys, KeyID: h.KeyID, Nonce: h.Nonce, Clock: b.signing.seconds,
	}
	if h.Template.Time == "ms" {
		t.Clock = b.signing.millis
	}
	return t, nil
}

// keys are several secrets, and their versions as one.
func (b *builder) keys(names ...string) (values []secret.Value, version string, err error) {
	var versions []string
	for _, name := range names {
		value, v, err := b.secret(name)
		if err != nil {
			return nil, "", err
		}
		values, versions = append(values, value), append(versions, v)
	}
	return values, strings.Join(versions, "+"), nil
}

func (b *builder) httpsig(s *config.Sign) (inject.Signer, error) {
	h := s.HTTPSig
	if h == nil {
		return nil, nil
	}
	value, version, err := b.secret(h.Secret)
	if err != nil {
		return nil, err
	}
	key, err := messageKey(h, value)
	if err != nil {
		return nil, err
	}
	out := &inject.HTTPSig{
		Name: h.Secret, Version: version, Key: key, Label: h.Label, Tag: h.Tag, Life: h.Life,
		Bot: h.Bot, Agent: h.Agent, Clock: b.signing.seconds,
	}
	for _, text := range h.Components {
		name, optional := strings.CutSuffix(text, "?")
		c, err := httpsig.ParseComponent(name)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(c.String(), `"content-digest"`) {
			out.Digests = h.Digests
		}
		if optional {
			out.Optional = append(out.Optional, c)
			continue
		}
		out.Components = append(out.Components, c)
	}
	return out, nil
}

func messageKey(h *config.HTTPSig, value secret.Value) (*httpsig.Key, error) {
	id := h.KeyID
	if id == "" {
		id = h.Secret
	}
	if httpsig.Algorithm(h.Algorithm) == httpsig.HMACSHA256 {
		return httpsig.SharedKey(id, value)
	}
	private, err := httpsig.ParsePrivateKey(value.Reveal())
	if err != nil {
		return nil, err
	}
	return httpsig.PrivateKey(id, httpsig.Algorithm(h.Algorithm), private)
}

func (b *builder) sigv4(s *config.Sign) (inject.Signer, error) {
	if len(s.SigV4) == 0 {
		return nil, nil
	}
	out := &inject.SigV4{Clock: b.signing.aws}
	for i := range s.SigV4 {
		key, err := b.awsKey(&s.SigV4[i])
		if err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, key)
	}
	return out, nil
}

func (b *builder) awsKey(c *config.SigV4) (inject.AWSKey, error) {
	names := []string{c.Secret}
	if c.SessionToken != "" {
		names = append(names, c.SessionToken)
	}
	id := secret.New([]byte(c.AccessKey))
	if name, ok := secret.ParseRef(c.AccessKey); ok {
		value, _, err := b.secret(name)
		if err != nil {
			return inject.AWSKey{}, err
		}
		id = value
	}
	values, version, err := b.keys(names...)
	if err != nil {
		return inject.AWSKey{}, err
	}
	key := inject.AWSKey{
		Name: c.Secret, Version: version, Placeholder: c.Placeholder, Regions: c.Regions, Services: c.Services,
		Credentials: sigv4.Credentials{AccessKeyID: string(id.Reveal()), SecretKey: values[0]},
	}
	if c.SessionToken != "" {
		key.Credentials.SessionToken = values[1]
	}
	return key, nil
}
