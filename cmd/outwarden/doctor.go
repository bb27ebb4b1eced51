package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/daemon"
)

func newDoctorCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Whether this host is fit for capture, who is in the way, and what to do about it",
		Long: `Look at all that capture stands on: what the kernel has, the cgroup and BPF file
systems, BPF programs of others at our hooks and who holds them, whether our own
hooks are in force, who listens on our ports, rules that use our marks, nftables,
and workloads that could send past capture. It needs no daemon and changes
nothing. The exit code is 1 where something is not as it should be.`,
		Example: "  outwarden doctor\n  outwarden doctor -o json | jq '.[] | select(.ok | not)'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return hinted(errors.New("doctor needs root"), "sudo outwarden doctor")
			}
			cfg, err := e.loadConfig()
			if err == nil {
				return e.tell(daemon.Examine(cmd.Context(), cfg))
			}
			ill := daemon.Finding{Check: "config", What: err.Error(), Do: "outwarden check"}
			if cfg, err = e.loadPlaces(); err != nil {
				return err
			}
			return e.tell(append([]daemon.Finding{ill}, daemon.Examine(cmd.Context(), cfg)...))
		},
	}
}

// tell prints what was found; exit code 1 says that not all of it is well.
func (e *env) tell(findings []daemon.Finding) error {
	ill := 0
	for _, f := range findings {
		if !f.OK {
			ill++
		}
	}
	var err error
	if ill > 0 {
		err = exitError{code: 1}
	}
	if e.json() {
		return errors.Join(writeJSON(e.stdout, findings), err)
	}
	p := painter{e.colour()}
	for _, f := range findings {
		e.tellOne(p, f)
	}
	if ill == 0 {
		fmt.Fprintln(e.stdout, p.in(green, "all is well"))
		return nil
	}
	fmt.Fprintln(e.stdout, p.in(red, count(ill, "finding")))
	return err
}

// tellOne makes names safe for a terminal: anybody may choose that of a program.
func (e *env) tellOne(p painter, f daemon.Finding) {
	sign, colour := "ok", green
	if !f.OK {
		sign, colour = "!!", red
	}
	fmt.Fprintf(e.stdout, "%s  %-9s  %s\n", p.in(colour, sign), f.Check, audit.Printable(f.What))
	if f.Do != "" {
		fmt.Fprintf(e.stdout, "               %s %s\n", p.in(dim, "do:"), audit.Printable(f.Do))
	}
}
