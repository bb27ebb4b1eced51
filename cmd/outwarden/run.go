package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/trust"
	"github.com/outwarden/outwarden/pkg/workload"
)

// enterCmd is the hidden command that a run's child starts as.
const enterCmd = "__enter"

func newRunCmd(env *env) *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Run one command with its connections captured",
		Long: `Run one command in a scope of its own. Its connections, and those of every
process it starts, go through Outwarden; nothing else does. The command is not
changed: it trusts the local authority through a private view of the host's trust
stores, which ends with it.

Where no daemon runs, one is started for the command and leaves with it, and with
what it leaves in the background.

It ends with the command's exit code, or 128 and the number of the signal that ended
it; 127 is no such command, 126 one that can't be run, 125 a failure just before it.`,
		Example: `  outwarden run -- curl https://api.partner.example/v1/accounts
  outwarden run --user billing -- /opt/billing/bin/export --yesterday
  outwarden run --config ./outwarden.yaml -- pytest -x`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("no command to run"), "write it behind --, as in: outwarden run -- curl https://example.com"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), env, as, args) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&as, "user", "u", "", "run the command as this user, without privileges; HOME, USER and LOGNAME are the user's")
	return cmd
}

func newEnterCmd() *cobra.Command {
	return &cobra.Command{
		Use: enterCmd, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			signal.Reset() // what is sent to the command ends it, also before it is one
			err := workload.Main()
			return exitError{err, err.Code}
		},
	}
}

// run opens a scope, starts the command in it and passes its exit on.
func run(ctx context.Context, env *env, as string, args []string) error {
	if os.Geteuid() != 0 {
		return hinted(errors.New("run needs root: it makes a cgroup and a mount namespace"), "sudo outwarden run --user $USER -- COMMAND")
	}
	cfg, err := env.loadConfig()
	if err != nil {
		return err
	}
	who, named, err := lookupUser(as)
	if err != nil {
		return err
	}
	scope, helper, err := takeScope(ctx, env, cfg)
	if err != nil {
		return err
	}
	defer helper.leave(scope)
	return startWorkload(ctx, scope, who, environOf(os.Environ(), named), args)
}

// ownCgroup is the directory of our own cgroup: the run's is made in it, so
// that limits set on us hold for the command too.
func ownCgroup() (string, error) {
	root, err := process.CgroupMount()
	if err != nil {
		return "", err
	}
	self, err := identify(uint32(os.Getpid()))
	if err != nil {
		return "", err
	}
	return filepath.Join(root, self.Cgroup), nil
}

// startWorkload runs the command to its end. Signals from the terminal reach it
// as they would without us; those sent to us alone are handed on. What was sent
// before there was a command ends us.
func startWorkload(ctx context.Context, scope *control.Scope, who *workload.User, environ, args []string) error {
	store, err := trust.Open(scope.Trust)
	if err != nil {
		return err
	}
	if environ, err = store.Env(environ); err != nil {
		return err
	}
	spec := workload.Spec{Args: args, Env: environ, Cgroup: scope.Cgroup, Trust: scope.Trust, User: who}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd, release, err := spec.Command(self, enterCmd)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, heeded(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT)...)
	defer signal.Stop(signals)
	if err = ctx.Err(); err != nil {
		err = errors.New("interrupted before the command was started")
	} else {
		err = cmd.Start()
	}
	release()
	if err != nil {
		_ = os.Remove(scope.Cgroup) // else the daemon waits for somebody to come
		return err
	}
	go forward(signals, cmd.Process)
	return exitOf(cmd.Wait())
}

// forward hands signals on, until we end.
func forward(signals <-chan os.Signal, p *os.Process) {
	for s := range signals {
		if (s == syscall.SIGINT || s == syscall.SIGQUIT) && inForeground() {
			continue // the terminal sends these to the command itself
		}
		_ = p.Signal(s)
	}
}

// inForeground reports whether our terminal sends its signals to us, and to those
// that we have started.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false // there is none
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitOf passes the command's exit status on; one that a signal ended gives 128
// and its number, as shells do.
func exitOf(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitError{nil, 128 + int(ws.Signal())}
	}
	return exitError{nil, exit.ExitCode()}
}

// lookupUser finds whom a command is to run as; "" is who we are.
func lookupUser(name string) (*workload.User, *user.User, error) {
	if name == "" {
		return nil, nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, nil, hinted(fmt.Errorf("no user %q on this host", name), "name one that `getent passwd` lists, or its number")
		}
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, nil, err
	}
	ids := make([]int, 0, len(groups)+2)
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, nil, fmt.Errorf("user %s: %w", name, err)
		}
		ids = append(ids, n)
	}
	return &workload.User{UID: ids[0], GID: ids[1], Groups: ids[2:]}, u, nil
}

// environOf is an environment as a user has it: in our home he may not even look.
func environOf(environ []string, u *user.User) []string {
	if u == nil {
		return environ
	}
	own := []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
	return append(slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "HOME" || name == "USER" || name == "LOGNAME"
	}), own...)
}
