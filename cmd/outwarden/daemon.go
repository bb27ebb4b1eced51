package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/daemon"
)

func newDaemonCmd(e *env) *cobra.Command {
	var ephemeral, takeover bool
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Capture what the configuration says, until told to stop",
		Long: `Capture what the configuration says, until told to stop.

SIGHUP loads the configuration again. SIGTERM stops: established flows drain and
the hooks stay in the kernel, where they answer by capture.fail, so that a restart
is no bypass. To remove them as well: outwarden detach.

To replace a daemon by a new version without a gap: outwarden upgrade. It starts
this command with --takeover, which a supervisor of its own kind may do as well,
in the cgroup of the daemon that runs.`,
		Example: `  outwarden daemon
  outwarden daemon --config ./outwarden.yaml
  outwarden daemon --takeover`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return hinted(errors.New("permission denied: the daemon needs root"), "systemctl start outwarden, or sudo outwarden daemon")
			}
			if err := harden(); err != nil {
				return err
			}
			if ephemeral {
				if err := letGo(); err != nil {
					return err
				}
			}
			successor, err := e.successor()
			if err != nil {
				return err
			}
			signal.Ignore(syscall.SIGPIPE) // whoever reads our log may go; we stay
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP) // before the start, which it would end
			d, err := daemon.Start(cmd.Context(), daemon.Options{
				Config: e.config, Ephemeral: ephemeral, Takeover: takeover, Successor: successor, Version: version, Log: newLog(e),
			})
			if err != nil {
				return err
			}
			return d.Run(cmd.Context(), hangup)
		},
	}
	cmd.Flags().BoolVar(&takeover, "takeover", false, "take over from the daemon that runs, if one does")
	cmd.Flags().BoolVar(&ephemeral, "ephemeral", false, "serve `run` alone and leave with the last one")
	_ = cmd.Flags().MarkHidden("ephemeral")
	return cmd
}

// successor is the command that starts the daemon after us: whatever lies at our
// path by then, with our configuration.
func (e *env) successor() ([]string, error) {
	self, err := ownPath()
	if err != nil {
		return nil, err
	}
	return append([]string{self, "daemon", "--takeover"}, e.sameConfig()...), nil
}

// sameConfig are the arguments by which a daemon reads the configuration that we do.
func (e *env) sameConfig() []string {
	if e.config == "" {
		return nil
	}
	return []string{"--config", e.config}
}

// ownPath is where our program lies, by the name that we were started by if that leads
// there: it may be a link that an installation of another version turns.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	named, err := exec.LookPath(os.Args[0])
	if err == nil {
		named, err = filepath.Abs(named)
	}
	if err != nil || !isOurs(named) {
		return self, nil
	}
	return named, nil
}

// isOurs reports whether a path leads to the program that we are.
func isOurs(path string) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(there, ours)
}

// harden keeps secrets out of core dumps and of other processes' reach: what is
// not dumpable can be read through /proc by root alone.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
}
