package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/daemon"
)

func newUpgradeCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the daemon by the program that lies at its path now, without a gap",
		Long: `Replace the daemon by the program that lies at its path now, without a gap.

The daemon starts its successor, under the same service, and hands it listeners,
hooks and trail. No connect fails or passes uncaptured meanwhile. The old daemon
lets established connections end, for as long as the configuration's drain says,
and leaves. If the successor does not come up, the old one goes on.`,
		Example: "  make install && outwarden upgrade",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.loadConfig() // the successor will, and its errors would be in the log alone
			if err != nil {
				return err
			}
			u, err := control.NewClient(daemon.SocketPath(cfg)).Upgrade(cmd.Context())
			if err != nil {
				return noDaemon(err)
			}
			if e.json() {
				return writeJSON(e.stdout, u)
			}
			fmt.Fprintf(e.stdout, "upgraded: %s serves in place of %s (pid %d)\n", u.Version, u.Before, u.PID)
			return nil
		},
	}
}
