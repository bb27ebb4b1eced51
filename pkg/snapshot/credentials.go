package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/vault"
)

var forms = map[config.Form]inject.Form{
	config.Bearer: inject.Bearer, config.Basic: inject.Basic, config.Header: inject.Header, config.Query: inject.Query,
	config.Cookie: inject.Cookie, config.Path: inject.Path, config.JSON: inject.JSON, config.Fields: inject.FormField,
	config.Swap: inject.Placeholder,
}

var places = map[string]inject.Places{
	"header": inject.InHeader, "query": inject.InQuery, "path": inject.InPath, "body": inject.InBody,
}

// credential reads what one entry of inject: names.
func (b *builder) credential(r *config.Route, in *config.Inject) (c inject.Credential, err error) {
	c = inject.Credential{
		Name: in.Secret, Form: forms[in.Form], Field: in.Field, Username: in.Username, Prefix: in.Prefix, Segment: in.Segment,
	}
	if in.Template != nil {
		c.Parts, err = b.parts(in.Template)
		return c, err
	}
	if c.Value, c.Version, err = b.secret(in.Secret); err != nil || in.Form != config.Swap {
		return c, err
	}
	for _, place := range in.Placeholder.In {
		c.In |= places[place]
	}
	c.Placeholder, err = b.mint(r, in)
	return c, err
}

func (b *builder) parts(template []config.Piece) (parts []inject.Part, err error) {
	for _, piece := range template {
		part := inject.Part{Text: piece.Text, Name: piece.Secret}
		if piece.Secret != "" {
			if part.Value, part.Version, err = b.secret(piece.Secret); err != nil {
				return nil, err
			}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (b *builder) mint(r *config.Route, in *config.Inject) (string, error) {
	if b.minter == nil {
		minter, err := OpenMinter(b.ctx, b.stateDir)
		if err != nil {
			return "", err
		}
		b.minter = minter
	}
	return Placeholder(b.minter, r, in)
}

// Placeholder is what workloads of the route hold in the stead of what in names.
func Placeholder(m *inject.Minter, r *config.Route, in *config.Inject) (string, error) {
	p := &in.Placeholder
	return m.Mint(r.Name, in.Secret, inject.PlaceholderFormat{Shape: p.Shape, Prefix: p.Prefix, Length: p.Length})
}

// OpenMinter reads the key that placeholders are made with, and makes one where
// there is none. It lies in the state directory: who has it can tell a placeholder
// from any other string, and nothing else.
func OpenMinter(ctx context.Context, stateDir string) (*inject.Minter, error) {
	path := filepath.Join(stateDir, "placeholders.key")
	if err := makeKey(path); err != nil {
		return nil, fmt.Errorf("key of placeholders: %w", err)
	}
	key, err := vault.File{Path: path}.Fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("key of placeholders: %w", err)
	}
	return inject.NewMinter(key)
}

// makeKey puts a key in place whole or not at all; one that is there stays.
func makeKey(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var key [32]byte
	_, _ = rand.Read(key[:])                           // never fails
	file, err := os.CreateTemp(filepath.Dir(path), "") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(hex.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); !errors.Is(err, fs.ErrExist) { // somebody else was first
		return err
	}
	return nil
}

// placeholders are all that the routes know; nil: none.
func placeholders(plans []proxy.Plan) *inject.Placeholders {
	all := make([]*inject.Plan, len(plans))
	for i := range plans {
		all[i] = plans[i].Inject
	}
	return inject.NewPlaceholders(all...)
}
