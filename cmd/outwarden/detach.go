package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/capture"
)

func newDetachCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "detach",
		Short: "Remove every program, map and pin that Outwarden left in the kernel",
		Long: `Remove every program, map and pin that Outwarden left in the kernel, and only
those. It needs no daemon. Workloads connect directly again.`,
		Example: "  systemctl stop outwarden && outwarden detach",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return hinted(errors.New("detach needs root"), "sudo outwarden detach")
			}
			removed, err := capture.Detach(cmp.Or(cfg.Capture.PinDir, capture.DefaultPinDir))
			if errors.Is(err, capture.ErrInUse) {
				return hinted(err, "a daemon still runs: stop it first, or workloads would connect directly behind its back")
			}
			if err != nil {
				return err
			}
			if e.json() {
				return writeJSON(e.stdout, removed)
			}
			for _, name := range removed {
				fmt.Fprintf(e.stdout, "removed %s\n", name)
			}
			if len(removed) == 0 {
				fmt.Fprintln(e.stdout, "nothing to remove")
			}
			return nil
		},
	}
}
