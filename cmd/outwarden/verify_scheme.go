package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
	"github.com/outwarden/outwarden/pkg/vault"
	"github.com/outwarden/outwarden/pkg/verify"
)

// schemeFlags say how a request is signed, and by whom.
type schemeFlags struct {
	name      string
	keys      []string
	keyID     string
	algorithm string
	required  []string
	tag       string
	partial   bool
	accessKey string
	region    string
	service   string
	unsigned  bool
}

func (f *schemeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "scheme", "", "how the request is signed: knoxcall, github, stripe, slack, standard-webhooks, httpsig or sigv4")
	flags.StringArrayVar(&f.keys, "key", nil, "file with the key: a shared secret, or a public key in PEM; several while a key is replaced")
	flags.StringVar(&f.keyID, "key-id", "", "httpsig: the key's id; else a name for it")
	flags.StringVar(&f.algorithm, "algorithm", "", "httpsig: hmac-sha256, ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384, rsa-pss-sha512 or rsa-v1_5-sha256")
	flags.StringArrayVar(&f.required, "require", nil, `httpsig: a component that must be covered beside the request line and the body, as content-type`)
	flags.StringVar(&f.tag, "tag", "", "httpsig: the signature's tag")
	flags.BoolVar(&f.partial, "partial", false, "httpsig: what --require says is enough")
	flags.StringVar(&f.accessKey, "access-key", "", "sigv4: the access key id")
	flags.StringVar(&f.region, "region", "", "sigv4: the region it must be for")
	flags.StringVar(&f.service, "service", "", "sigv4: the service it must be for")
	flags.BoolVar(&f.unsigned, "unsigned-body", false, "sigv4: accept a signature that leaves the body out")
}

// check refuses what the scheme would pass over, as if it were obeyed, and an algorithm
// that there is none of.
func (f *schemeFlags) check(flags *pflag.FlagSet) error {
	if f.name == "" || len(f.keys) == 0 {
		return usageError{errors.New("a scheme and a key are needed"), "--scheme NAME --key FILE; see: outwarden verify --help"}
	}
	for scheme, own := range map[string][]string{
		"httpsig": {"algorithm", "require", "tag", "partial"}, "sigv4": {"access-key", "region", "service", "unsigned-body"},
	} {
		for _, name := range own {
			if scheme != f.name && flags.Changed(name) {
				return usageError{fmt.Errorf("--%s is for --scheme %s alone", name, scheme), "leave it out: it would not be looked at"}
			}
		}
	}
	if f.name != "httpsig" {
		return nil
	}
	_, err := oneOf("--algorithm", []string{f.algorithm}, []string{
		string(httpsig.HMACSHA256), string(httpsig.Ed25519), string(httpsig.ECDSAP256SHA256), string(httpsig.ECDSAP384SHA384),
		string(httpsig.RSAPSSSHA512), string(httpsig.RSAV15SHA256),
	})
	return err
}

// scheme reads the keys and makes the scheme.
func (f *schemeFlags) scheme(ctx context.Context) (verify.Scheme, error) {
	var values []secret.Value
	for _, path := range f.keys {
		value, err := f.read(ctx, path)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	switch f.name {
	case "httpsig":
		return f.httpsig(values)
	case "sigv4":
		return f.sigv4(values)
	}
	return f.hmac(values)
}

// read holds a shared secret to the rules of secrets, and a public key to none.
func (f *schemeFlags) read(ctx context.Context, path string) (secret.Value, error) {
	if f.name == "httpsig" && f.algorithm != string(httpsig.HMACSHA256) {
		return vault.Public{Path: path}.Fetch(ctx)
	}
	return vault.File{Path: path}.Fetch(ctx)
}

func (f *schemeFlags) hmac(values []secret.Value) (verify.Scheme, error) {
	scheme, err := hmacsig.TemplatePreset(f.name)
	if err != nil {
		return nil, usageError{fmt.Errorf("scheme %q is not known", f.name), "see: outwarden verify --help"}
	}
	h := &verify.HMAC{Scheme: scheme}
	for i, value := range values {
		id := f.keyID
		if id == "" {
			id = f.keys[i]
		}
		h.Keys = append(h.Keys, verify.SharedKey{ID: id, Value: value})
	}
	return h, nil
}

func (f *schemeFlags) sigv4(values []secret.Value) (verify.Scheme, error) {
	if f.accessKey == "" || len(values) != 1 {
		return nil, usageError{errors.New("sigv4 needs one access key"), "--access-key ID --key FILE"}
	}
	key := sigv4.Credentials{AccessKeyID: f.accessKey, SecretKey: values[0]}
	return &verify.SigV4{Keys: []sigv4.Credentials{key}, Region: f.region, Service: f.service, Unsigned: f.unsigned}, nil
}

func (f *schemeFlags) httpsig(values []secret.Value) (verify.Scheme, error) {
	required, err := httpsig.Components(f.required...)
	if err != nil {
		return nil, usageError{err, `--require content-type, or --require '"@query-param";name="id"'`}
	}
	h := &verify.HTTPSig{Required: required, Tag: f.tag, Partial: f.partial}
	for i, value := range values {
		key, err := f.messageKey(value)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", f.keys[i], err)
		}
		h.Keys = append(h.Keys, key)
	}
	return h, nil
}

func (f *schemeFlags) messageKey(value secret.Value) (*httpsig.Key, error) {
	alg := httpsig.Algorithm(f.algorithm)
	if alg == httpsig.HMACSHA256 {
		return httpsig.SharedKey(f.keyID, value)
	}
	public, err := httpsig.ParsePublicKey(value.Reveal())
	if err != nil {
		return nil, err
	}
	return httpsig.PublicKey(f.keyID, alg, public)
}
