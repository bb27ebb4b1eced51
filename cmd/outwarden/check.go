package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/config"
)

func newCheckCmd(e *env) *cobra.Command {
	var schema bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Find bad configuration, conflicts and shadowed routes before they are loaded",
		Example: `  outwarden check
  outwarden check ./outwarden.yaml
  outwarden check --schema > outwarden.schema.json`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			endBySignal()
			if schema {
				return printSchema(e)
			}
			path := e.config
			if len(args) == 1 {
				path = args[0]
			}
			if e.config != "" && path != e.config {
				return usageError{errors.New("FILE and --config both name the configuration"), "leave one of them out"}
			}
			return check(e, path)
		},
	}
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of the configuration")
	return cmd
}

func printSchema(e *env) error {
	b, err := config.Schema()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s\n", b)
	return err
}

// check prints every finding on a line of its own, errors first.
func check(e *env, path string) error {
	cfg, warnings, err := config.Load(path)
	list, several := errors.AsType[config.Errors](err)
	if err != nil && !several {
		return err
	}
	if cfg != nil {
		warnings = append(append(warnings, missing(cfg)...), strangers(cfg)...)
	}
	if e.json() {
		return checkJSON(e, cfg, warnings, list)
	}
	p := painter{e.errColour()}
	for _, finding := range list {
		fmt.Fprintf(e.stderr, "%s %s\n", p.in(red, "error:"), printable(finding.Error()))
	}
	for _, w := range warnings {
		fmt.Fprintf(e.stderr, "%s %s\n", p.in(yellow, "warning:"), printable(w.String()))
	}
	if len(list) > 0 {
		return exitError{fmt.Errorf("%s in the configuration", count(len(list), "error")), exitFailed}
	}
	files, more := filesOf(cfg)
	fmt.Fprintf(e.stdout, "%s %s in %s, %s%s\n", painter{e.colour()}.in(green, "ok:"), count(len(cfg.Routes), "route"),
		count(len(files), "file"), count(len(warnings), "warning"), more)
	return nil
}

// missing warns of files that routes need and that are not there. It is no error, as a
// configuration may be looked at on another host than it is for.
func missing(cfg *config.Config) (out []config.Warning) {
	seen := map[string]bool{"": true}
	look := func(at config.Position, path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			out = append(out, config.Warning{Position: at, Message: path + " is not there, and no daemon would start or reload without it"})
		}
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		for _, name := range secretsOf(r) {
			look(cfg.Secrets[name].Position, cfg.Secrets[name].File)
		}
		for _, m := range []config.Material{r.Upstream.CA, r.Upstream.Certificate, r.Upstream.Key} {
			look(cfg.Secrets[m.Secret].Position, cfg.Secrets[m.Secret].File)
			look(r.Position, m.File)
		}
	}
	return out
}

// strangers warns of users that a route names in vain: the name of a user is the first
// that /etc/passwd has for his number.
func strangers(cfg *config.Config) (out []config.Warning) {
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		for _, name := range r.From.Users {
			if _, err := strconv.ParseUint(name, 10, 32); err == nil {
				continue
			}
			why := "is not in /etc/passwd, where names are looked up: the number matches, be he known elsewhere"
			if u, err := user.Lookup(name); err == nil {
				first, err := user.LookupId(u.Uid)
				if err != nil || first.Username == name {
					continue
				}
				why = fmt.Sprintf("shares uid %s with %s, by whose name both are known", u.Uid, first.Username)
			}
			out = append(out, config.Warning{Position: r.Position, Message: fmt.Sprintf("user %q of route %q %s", name, r.Name, why)})
		}
	}
	return out
}

// secretsOf names what a route injects and signs with.
func secretsOf(r *config.Route) (names []string) {
	for i := range r.Inject {
		names = append(names, r.Inject[i].Secrets()...)
	}
	if r.Sign != nil {
		signing, _ := r.Sign.Secrets()
		names = append(names, signing...)
	}
	return names
}

// filesOf are the files that there were, and what to say if the main one was not: whoever
// forgot --config has looked at nothing.
func filesOf(cfg *config.Config) (files []string, more string) {
	_, err := os.Stat(cfg.Files[0])
	if errors.Is(err, fs.ErrNotExist) {
		return cfg.Files[1:], "; there is no " + cfg.Files[0]
	}
	return cfg.Files, ""
}

type checkResult struct {
	OK       bool     `json:"ok"`
	Files    []string `json:"files,omitempty"` // none where there is no configuration
	Routes   int      `json:"routes"`
	Errors   []string `json:"errors,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

func checkJSON(e *env, cfg *config.Config, warnings []config.Warning, list config.Errors) error {
	r := checkResult{OK: len(list) == 0}
	if cfg != nil {
		r.Routes = len(cfg.Routes)
		r.Files, _ = filesOf(cfg)
	}
	for _, finding := range list {
		r.Errors = append(r.Errors, finding.Error())
	}
	for _, w := range warnings {
		r.Warnings = append(r.Warnings, w.String())
	}
	if err := writeJSON(e.stdout, r); err != nil || r.OK {
		return err
	}
	return exitError{nil, exitFailed}
}
