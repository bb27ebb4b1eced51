package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/daemon"
)

func newDetachCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "detach",
		Short: "Remove every program, map, pin and cgroup that Outwarden left in the kernel",
		Long: `Remove every program, map, pin and cgroup that Outwarden left in the kernel, and
only those. It needs no daemon. Workloads connect directly again.`,
		Example: "  systemctl stop outwarden && outwarden detach",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.loadPlaces()
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return hinted(errors.New("detach needs root"), "sudo outwarden detach")
			}
			removed, err := daemon.Detach(cmd.Context(), cfg)
			if errors.Is(err, daemon.ErrRunning) {
				return hinted(err, "stop it first, or workloads would connect directly behind its back")
			}
			if err != nil {
				return err
			}
			if e.json() {
				return writeJSON(e.stdout, append([]string{}, removed...))
			}
			for _, name := range removed {
				fmt.Fprintf(e.stdout, "removed %s\n", audit.Printable(name)) // a cgroup may have any
			}
			if len(removed) == 0 {
				fmt.Fprintln(e.stdout, "nothing to remove")
			}
			return nil
		},
	}
}
