package config

import (
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/secret"
)

func (b *builder) sign(doc *signDoc) *Sign {
	if doc == nil {
		return nil
	}
	if doc.HMAC == nil && doc.HTTPSig == nil && len(doc.SigV4) == 0 {
		b.fail(doc.At, "as in {hmac: {key: secret:NAME, preset: knoxcall}}", "sign needs hmac, httpsig or sigv4")
		return nil
	}
	s := &Sign{RefuseReplays: doc.RefuseReplays.value}
	if doc.HMAC != nil {
		s.HMAC = b.hmac(doc.HMAC)
	}
	if doc.HTTPSig != nil {
		s.HTTPSig = b.httpsig(doc.HTTPSig)
	}
	for i := range doc.SigV4 {
		s.SigV4 = append(s.SigV4, b.sigv4(&doc.SigV4[i], len(doc.SigV4) > 1))
	}
	b.placeholders(doc.SigV4)
	return s
}

func (b *builder) hmac(doc *hmacDoc) *HMAC {
	if len(doc.Key) == 0 || doc.Preset.absent() == (len(doc.Template) == 0) {
		b.fail(doc.At, "as in {key: secret:NAME, preset: knoxcall}", "hmac needs key, and preset or template")
	}
	if !ascii(doc.KeyID.value) {
		b.fail(doc.KeyID.at, "", "key_id is not ASCII")
	}
	h := &HMAC{Nonce: doc.Nonce.value, KeyID: doc.KeyID.value}
	for _, key := range doc.Key {
		h.Keys = append(h.Keys, b.reference(key, "key"))
	}
	if len(doc.Template) > 0 {
		h.Template = b.template(doc)
	} else if preset, ok := hmacsig.PresetTemplate(doc.Preset.value); ok {
		h.Template = preset
	} else if doc.Preset.ok() {
		b.fail(doc.Preset.at, "knoxcall, github, stripe, slack or standard-webhooks", "no preset is named %q", doc.Preset.value)
	}
	if scheme, err := h.Template.Compile(); err == nil && len(doc.Key) > 1 && !scheme.Lists() {
		b.fail(doc.Key[1].at, "", "%s has room for one signature, so for one key", h.Template.Name)
	}
	return h
}

// template compiles what the route describes, so that an error has its line.
func (b *builder) template(doc *hmacDoc) hmacsig.Template {
	t := hmacsig.Template{Name: "template", Algorithm: "sha256", Encoding: "hex", Time: doc.Time.value, Key: doc.KeyEncoding.value}
	lines := make([]string, 0, len(doc.Template))
	for _, line := range doc.Template {
		lines = append(lines, line.value)
	}
	t.Text = strings.Join(lines, "\n")
	if doc.Algorithm.ok() {
		t.Algorithm = doc.Algorithm.value
	}
	if doc.Encoding.ok() {
		t.Encoding = doc.Encoding.value
	}
	for i := range doc.Headers {
		t.Fields = append(t.Fields, b.templateHeader(&doc.Headers[i]))
	}
	if _, err := t.Compile(); err != nil {
		b.fail(doc.Template[0].at, "", "%s", err)
	}
	return t
}

func (b *builder) templateHeader(doc *templateHeader) hmacsig.FieldTemplate {
	name := strings.ToLower(doc.Name.value)
	if !isToken(name) || slices.Contains(framing, name) {
		b.fail(doc.At, "", "%q is not a header that a signature may stand in", doc.Name.value)
	}
	if !ascii(doc.Value.value) {
		b.fail(doc.Value.at, "", "value is not ASCII")
	}
	return hmacsig.FieldTemplate{Name: doc.Name.value, Value: doc.Value.value, Separator: doc.Separator.value}
}

// algorithms of RFC 9421 section 6.2.
var algorithms = []string{"hmac-sha256", "ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256"}

func (b *builder) httpsig(doc *httpsigDoc) *HTTPSig {
	if doc.Key.absent() || doc.Algorithm.absent() {
		b.fail(doc.At, "as in {key: secret:NAME, algorithm: ed25519}", "httpsig needs key and algorithm")
	}
	h := &HTTPSig{
		Secret: b.reference(doc.Key, "key"), Algorithm: b.oneOf(doc.Algorithm, algorithms...), KeyID: doc.KeyID.value,
		Label: "sig1", Tag: doc.Tag.value, Agent: doc.Agent.value,
		Bot: b.oneOf(doc.Preset, "web-bot-auth") != "",
	}
	for _, t := range []text{doc.KeyID, doc.Label, doc.Tag, doc.Agent} {
		if !ascii(t.value) {
			b.fail(t.at, "", "%q is not ASCII", t.value)
		}
	}
	if doc.Label.ok() {
		h.Label = doc.Label.value
	}
	if !httpsig.ValidLabel(h.Label) {
		b.fail(doc.Label.at, "lower-case letters, digits and _ - . *, a letter first", "%q is not a label", h.Label)
	}
	b.lives(doc, h)
	b.components(doc, h)
	return h
}

// lives reads how long the signature is good for; Web Bot Auth wants no more than a
// day.
func (b *builder) lives(doc *httpsigDoc, h *HTTPSig) {
	if h.Bot {
		h.Life = time.Hour
	}
	if !doc.Expires.ok() {
		return
	}
	life, err := time.ParseDuration(doc.Expires.value)
	if err != nil || life < time.Second || life%time.Second != 0 || h.Bot && life > 24*time.Hour {
		b.fail(doc.Expires.at, "as in 60s or 5m; at most 24h for web-bot-auth", "%q is not how long a signature is good for", doc.Expires.value)
	}
	h.Life = life
}

func (b *builder) components(doc *httpsigDoc, h *HTTPSig) {
	if h.Bot && len(doc.Components)+len(doc.Digest) > 0 {
		b.fail(doc.At, "", "web-bot-auth says itself what is covered")
	}
	if !h.Bot && h.Agent != "" {
		b.fail(doc.Agent.at, "add preset: web-bot-auth", "agent is of web-bot-auth alone")
	}
	if h.Bot {
		return
	}
	h.Components, h.Digests = []string{"@method", "@target-uri", "content-digest", "content-type?"}, []string{"sha-256"}
	if len(doc.Components) > 0 {
		h.Components = nil
	}
	var seen []string
	for _, t := range doc.Components {
		c, err := httpsig.ParseComponent(strings.TrimSuffix(t.value, "?"))
		if err == nil {
			err = c.CheckRequest()
		}
		if t.ok() && err != nil {
			b.fail(t.at, `as in @method, content-type or '"@query-param";name="id"'`, "%s", err)
		}
		if t.ok() && slices.Contains(seen, c.String()) {
			b.fail(t.at, "", "%s is there twice", c)
		}
		seen = append(seen, c.String())
		h.Components = append(h.Components, t.value)
	}
	if len(doc.Digest) > 0 {
		h.Digests = nil
	}
	for _, t := range doc.Digest {
		h.Digests = append(h.Digests, b.oneOf(t, "sha-256", "sha-512"))
	}
}

func (b *builder) sigv4(doc *sigv4Doc, several bool) SigV4 {
	if doc.AccessKey.absent() || doc.SecretKey.absent() || len(doc.Region) == 0 || len(doc.Service) == 0 {
		b.fail(doc.At, "as in {access_key: AKIA..., secret_key: secret:NAME, region: eu-west-1, service: s3}",
			"sigv4 needs access_key, secret_key, region and service")
	}
	s := SigV4{
		AccessKey: doc.AccessKey.value, Secret: b.reference(doc.SecretKey, "secret_key"),
		SessionToken: b.reference(doc.SessionToken, "session_token"), Placeholder: doc.Placeholder.value,
	}
	if name, ok := secret.ParseRef(s.AccessKey); ok {
		b.secretNamed(doc.AccessKey.at, name)
	}
	if doc.Placeholder.absent() && several {
		b.fail(doc.At, "add placeholder: ID", "each of several AWS credentials needs a placeholder to be chosen by")
	}
	if s.Placeholder != "" && s.Placeholder == s.AccessKey {
		b.fail(doc.Placeholder.at, "give the workload a made-up one", "the placeholder is the real access key id")
	}
	s.Regions, s.Services = b.scopeParts(doc.Region), b.scopeParts(doc.Service)
	return s
}

// scopeParts are words of a credential scope.
func (b *builder) scopeParts(texts list[text]) (out []string) {
	for _, t := range texts {
		if t.ok() && (!isToken(t.value) || t.value == "*") {
			b.fail(t.at, "as in eu-west-1, and s3", "%q is not a region or a service", t.value)
		}
		out = append(out, t.value)
	}
	return out
}

func (b *builder) placeholders(docs list[sigv4Doc]) {
	for i := range docs {
		p := docs[i].Placeholder
		first := slices.IndexFunc(docs, func(d sigv4Doc) bool { return d.Placeholder.value == p.value })
		if p.ok() && first < i {
			b.fail(p.at, "", "placeholder %s is that of line %d", p.value, docs[first].At.Line)
		}
	}
}

// signSlots are the headers that the signatures of a route write.
func (b *builder) signSlots(doc *signDoc, s *Sign) []slot {
	if s == nil {
		return nil
	}
	var slots []slot
	add := func(names ...string) {
		for _, name := range names {
			slots = append(slots, slot{headerSlot(name), doc.At})
		}
	}
	if s.HMAC != nil {
		for _, f := range s.HMAC.Template.Fields {
			add(f.Name)
		}
	}
	if s.HTTPSig != nil {
		add("Signature", "Signature-Input")
	}
	if len(s.SigV4) > 0 {
		add("Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token")
	}
	return slots
}
