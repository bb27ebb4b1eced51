package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/daemon"
)

func newCACmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show, export, rotate or remove this host's authority",
		Long: `Show, export, rotate or remove this host's authority: the key and the root
certificate that make the leaves workloads see. It is made on the first start.`,
		Example: "  outwarden ca show\n  outwarden ca export > /usr/local/share/ca-certificates/outwarden.crt",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAShowCmd(e), newCAExportCmd(e), newCARotateCmd(e), newCARemoveCmd(e))
	return cmd
}

func newCAShowCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "The root certificate: name, fingerprint, validity, constraints, and where its key is",
		Example: "  outwarden ca show\n  outwarden ca show -o json | jq -r .sha256",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, info, err := e.inspectCA()
			if err != nil {
				return err
			}
			return printCA(e, cfg, &info)
		},
	}
}

func newCAExportCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write the root certificate as PEM, for trust stores",
		Long: `Write the root certificate as PEM, for trust stores. It holds no secret. Programs
under ` + "`outwarden run`" + ` need none of this: they find the root where they look anyway.

The root is issued anew, with the same key, when routes name other hosts and a month
before its end (` + "`outwarden ca show`" + `). Export it again then: with the one before, programs
refuse the hosts that were added.`,
		Example: `  outwarden ca export > /usr/local/share/ca-certificates/outwarden.crt && update-ca-certificates
  outwarden ca export | openssl x509 -noout -text`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, info, err := e.inspectCA()
			if err != nil {
				return err
			}
			_, err = e.stdout.Write(info.PEM)
			return err
		},
	}
}

func newCARotateCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Make another key and root; workloads need the new root from then on",
		Long: `Make another key and root, in the TPM if the configuration names one. No daemon may
run. Workloads that trust the old root alone refuse what comes after; those under
` + "`outwarden run`" + ` find the new root when they start again.`,
		Example: "  systemctl stop outwarden && outwarden ca rotate && systemctl start outwarden",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			info, err := daemon.RotateAuthority(cmd.Context(), cfg)
			if err != nil {
				return caError(err)
			}
			return printCA(e, cfg, &info)
		},
	}
}

func newCARemoveCmd(e *env) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove --yes",
		Short: "Delete the authority for good: key, roots and the trust stores made of them",
		Long: `Delete the authority for good: its key (in a TPM too: the TPM holds nothing that the
deleted files were not needed for), the roots there were, and the trust stores that
` + "`outwarden run`" + ` gives to programs. No daemon may run. What ` + "`ca export`" + ` put into other
stores stays there; the next start makes a new authority.`,
		Example: "  systemctl stop outwarden && outwarden detach && outwarden ca remove --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			return removeCA(cmd.Context(), e, cfg, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it: there is no way back")
	return cmd
}

func removeCA(ctx context.Context, e *env, cfg *config.Config, yes bool) error {
	if !yes {
		return usageError{errors.New("nothing was removed"), "there is no way back; if you mean it: outwarden ca remove --yes"}
	}
	removed, err := daemon.RemoveAuthority(ctx, cfg)
	if err != nil {
		return caError(err)
	}
	if e.json() {
		return writeJSON(e.stdout, append([]string{}, removed...))
	}
	for _, path := range removed {
		fmt.Fprintf(e.stdout, "removed %s\n", path)
	}
	if len(removed) == 0 {
		fmt.Fprintln(e.stdout, "nothing to remove")
	}
	return nil
}

// inspectCA is the authority of the configuration that the command was given.
func (e *env) inspectCA() (*config.Config, authority.Info, error) {
	cfg, err := e.loadConfig()
	if err != nil {
		return nil, authority.Info{}, err
	}
	info, err := daemon.InspectAuthority(cfg)
	return cfg, info, caError(err)
}

// caError adds what helps with what can be helped.
func caError(err error) error {
	switch {
	case errors.Is(err, authority.ErrNone):
		return hinted(err, "the first start makes it: outwarden daemon")
	case errors.Is(err, daemon.ErrRunning):
		return hinted(err, "stop it first: systemctl stop outwarden")
	}
	return err
}

// caSheet is what -o json prints.
type caSheet struct {
	Subject   string    `json:"subject"`
	SHA256    string    `json:"sha256"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Permitted []string  `json:"permitted"` // domains and networks; null: any name
	Key       caKey     `json:"key"`
	Earlier   int       `json:"earlier_keys"`
}

type caKey struct {
	In   string `json:"in"` // file or tpm
	File string `json:"file"`
	TPM  string `json:"tpm,omitempty"`
}

func caSheetOf(cfg *config.Config, info *authority.Info) caSheet {
	sum := sha256.Sum256(info.Root.Raw)
	s := caSheet{
		Subject: info.Root.Subject.String(), SHA256: hex.EncodeToString(sum[:]),
		NotBefore: info.Root.NotBefore, NotAfter: info.Root.NotAfter,
		Permitted: info.Permitted, Key: caKey{In: "file", File: info.KeyFile}, Earlier: info.Earlier,
	}
	if info.InTPM {
		s.Key.In, s.Key.TPM = "tpm", cfg.Authority.TPM
	}
	return s
}

func printCA(e *env, cfg *config.Config, info *authority.Info) error {
	c := caSheetOf(cfg, info)
	if e.json() {
		return writeJSON(e.stdout, c)
	}
	s := sheet{w: e.stdout, paint: painter{e.colour()}}
	s.printf("%s\n", s.paint.in(bold, info.Root.Subject.CommonName))
	s.field("sha256", c.SHA256)
	s.field("valid", fmt.Sprintf("%s to %s", stamp(c.NotBefore), stamp(c.NotAfter)))
	s.field("may sign", "leaves only (path length 0)")
	s.field("speaks for", speaksFor(c.Permitted))
	if info.InTPM {
		s.field("key", "in the TPM "+orNone(c.Key.TPM, "that made it")+"; to any other, "+c.Key.File+" is of no use")
	} else {
		s.field("key", c.Key.File)
	}
	s.field("before", count(c.Earlier, "earlier key"))
	return s.err
}

func speaksFor(permitted []string) string {
	switch {
	case permitted == nil:
		return "any name: all hosts may be intercepted"
	case len(permitted) == 0:
		return "no name: no route intercepts"
	}
	return strings.Join(permitted, ", ")
}
