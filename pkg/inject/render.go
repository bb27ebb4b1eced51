package inject

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/outwarden/outwarden/pkg/secret"
)

// render gives the field that carries the credential.
func (c *Credential) render() (name string, value secret.Value, err error) {
	const authorization = "Authorization"
	switch c.Form {
	case Bearer:
		value, err = c.bearer()
		return authorization, value, err
	case Basic:
		value, err = c.basic()
		return authorization, value, err
	case Header:
		value, err = c.header()
		return c.Field, value, err
	}
	return "", secret.Value{}, fmt.Errorf("%s: %w", c.Form, ErrValue)
}

func (c *Credential) bearer() (secret.Value, error) {
	token := c.Value.Reveal()
	if strings.ContainsAny(string(token), " \t") {
		return secret.Value{}, fmt.Errorf("bearer token has white space: %w", ErrValue)
	}
	return secret.New(append([]byte("Bearer "), token...)), nil
}

func (c *Credential) basic() (secret.Value, error) {
	pair := c.Value.Reveal()
	if c.Username != "" {
		pair = append([]byte(c.Username+":"), pair...)
	}
	user, _, found := strings.Cut(string(pair), ":")
	switch {
	case !found:
		return secret.Value{}, fmt.Errorf("basic without a user name, and the secret is no user:password: %w", ErrValue)
	case c.Username != "" && user != c.Username:
		return secret.Value{}, fmt.Errorf("basic user name has a colon: %w", ErrValue)
	case !printable(user):
		return secret.Value{}, fmt.Errorf("basic user name has a control byte: %w", ErrValue)
	}
	return secret.New(base64.StdEncoding.AppendEncode([]byte("Basic "), pair)), nil
}

func (c *Credential) header() (secret.Value, error) {
	if err := checkField(c.Field); err != nil {
		return secret.Value{}, err
	}
	value := append([]byte(c.Prefix), c.Value.Reveal()...)
	if !printable(c.Prefix) {
		return secret.Value{}, fmt.Errorf("prefix has a control byte: %w", ErrValue)
	}
	// A recipient cuts white space at the ends, so it would see another value.
	if len(trimSpace(value)) != len(value) {
		return secret.Value{}, fmt.Errorf("begins or ends with white space: %w", ErrValue)
	}
	return secret.New(value), nil
}

// reserved fields frame or route the message, or are covered by a signature.
var reserved = slots{
	"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "keep-alive",
	"proxy-connection", "te", "trailer", "upgrade", "expect", "http2-settings",
}

// checkField wants a token (RFC 9110 section 5.6.2) that is not reserved.
func checkField(name string) error {
	if has(reserved, name) {
		return fmt.Errorf("field %q: %w", name, ErrField)
	}
	return checkToken(name)
}

func checkToken(name string) error {
	const symbols = "!#$%&'*+-.^_`|~"
	for i := range len(name) {
		if c := name[i]; fold(c) == '-' && strings.IndexByte(symbols, c) < 0 {
			return fmt.Errorf("name %q: %w", name, ErrField)
		}
	}
	if name == "" {
		return fmt.Errorf("no name: %w", ErrField)
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}
