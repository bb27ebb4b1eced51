package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/snapshot"
)

func newSecretCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "secret",
		Short:   "What workloads hold in the stead of secrets",
		Example: "  outwarden secret placeholder partner-token",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPlaceholderCmd(e))
	return cmd
}

func newPlaceholderCmd(e *env) *cobra.Command {
	var route string
	cmd := &cobra.Command{
		Use:   "placeholder [--route ROUTE] SECRET",
		Short: "Print the placeholder that a workload holds in a secret's stead",
		Long: `Print the placeholder that workloads of a route hold in the stead of a secret, for
their environment or configuration. It is the same every time, another for every route,
and no secret: on any other request than its route's it is refused and raises an alert.`,
		Example: `  outwarden secret placeholder partner-token
  PARTNER_TOKEN=$(outwarden secret placeholder partner-token) /opt/billing/bin/transfer`,
		Args: oneArg("the name of a secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			return printPlaceholder(cmd.Context(), e, cfg, route, args[0])
		},
	}
	cmd.Flags().StringVar(&route, "route", "", "the route, where several have a placeholder for the secret")
	return cmd
}

func printPlaceholder(ctx context.Context, e *env, cfg *config.Config, route, name string) error {
	r, in, err := findPlaceholder(cfg, route, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	minter, err := snapshot.OpenMinter(ctx, cfg.StateDir)
	if err != nil {
		return err
	}
	placeholder, err := snapshot.Placeholder(minter, r, in)
	if err != nil {
		return err
	}
	if e.json() {
		return writeJSON(e.stdout, map[string]string{"secret": name, "route": r.Name, "placeholder": placeholder})
	}
	_, err = fmt.Fprintln(e.stdout, placeholder)
	return err
}

// findPlaceholder wants exactly one route that has a placeholder for the secret.
func findPlaceholder(cfg *config.Config, route, name string) (*config.Route, *config.Inject, error) {
	var found []*config.Route
	var inject *config.Inject
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		for j := range r.Inject {
			if in := &r.Inject[j]; in.Form == config.Swap && in.Secret == name && (route == "" || route == r.Name) {
				found, inject = append(found, r), in
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], inject, nil
	case 0:
		return nil, nil, hinted(fmt.Errorf("no route has a placeholder for secret %q", name), "write {placeholder: {value: secret:"+name+"}} under inject: of a route")
	}
	var names []string
	for _, r := range found {
		names = append(names, r.Name)
	}
	return nil, nil, hinted(fmt.Errorf("%d routes have a placeholder for secret %q", len(found), name), "name one with --route: "+strings.Join(names, ", "))
}
