package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/daemon"
)

const (
	daemonPatience = 20 * time.Second // for a daemon to come up, or to make room
	daemonPause    = 10 * time.Millisecond
	lastSteps      = time.Second // of processes that end with the command, but after it
)

// helperDaemon is a daemon that we started for this run; nil if one was there.
type helperDaemon struct {
	client *control.Client
	cmd    *exec.Cmd
	log    string
	done   chan struct{} // closed when it has ended
}

// takeScope gets a scope from the daemon of a configuration. Where there is none,
// or one that is just leaving, it starts an ephemeral one.
func takeScope(ctx context.Context, env *env, cfg *config.Config) (*control.Scope, *helperDaemon, error) {
	client := control.NewClient(daemon.SocketPath(cfg))
	scope, err := openScope(ctx, client)
	if !errors.Is(err, control.ErrNoDaemon) {
		return scope, nil, err
	}
	unlock, err := oneStarter(cfg)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	for deadline := time.Now().Add(daemonPatience); time.Now().Before(deadline); time.Sleep(daemonPause) {
		if scope, err = openScope(ctx, client); !errors.Is(err, control.ErrNoDaemon) {
			return scope, nil, err
		}
		if !daemon.Running(cfg) {
			return startDaemon(ctx, env, client, cfg)
		}
	}
	return nil, nil, hinted(err, "a daemon is there, but does not answer: see its log")
}

// oneStarter makes several runs that begin at once start one daemon between them.
func oneStarter(cfg *config.Config) (unlock func(), err error) {
	if err := daemon.MakeRunDir(cfg); err != nil {
		return nil, err
	}
	dir, err := os.Open(cfg.RunDir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return func() { _ = dir.Close() }, os.NewSyscallError("flock", err)
}

func openScope(ctx context.Context, client *control.Client) (*control.Scope, error) {
	parent, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	return client.OpenScope(ctx, control.ScopeRequest{Parent: parent})
}

// startDaemon starts an ephemeral daemon, in a session of its own so that the
// terminal's signals do not reach it, and gets a scope from it.
func startDaemon(ctx context.Context, env *env, client *control.Client, cfg *config.Config) (*control.Scope, *helperDaemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	h := &helperDaemon{client: client, log: filepath.Join(cfg.RunDir, "daemon.log"), done: make(chan struct{})}
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	h.cmd = exec.Command(self, append([]string{"daemon", "--ephemeral"}, env.sameConfig()...)...)
	h.cmd.Env = slices.DeleteFunc(os.Environ(), ofService)
	h.cmd.Stderr, h.cmd.Stdout = log, log
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.cmd.Start(); err != nil {
		return nil, nil, err
	}
	go func() { _ = h.cmd.Wait(); close(h.done) }()
	scope, err := h.firstScope(ctx)
	if err != nil {
		h.kill()
		return nil, nil, err
	}
	return scope, h, nil
}

// ofService reports whether a variable is a service manager's to the command that is
// its service: our daemon would tell it in the command's stead that it is ready and lives.
func ofService(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_")
}

// letGo closes what a daemon that a run started was given beside the standard streams:
// it is the command's, and who waits for that to close it would wait for us.
func letGo() error {
	files, err := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 { // else we opened it
			_ = unix.Close(fd)
		}
	}
	return err
}

// firstScope waits until the daemon gives us a scope, or says why it does not.
func (h *helperDaemon) firstScope(ctx context.Context) (*control.Scope, error) {
	for deadline := time.Now().Add(daemonPatience); time.Now().Before(deadline); {
		select {
		case <-h.done:
			return nil, daemonFailure(h.log)
		case <-ctx.Done():
			return nil, errors.New("interrupted while the daemon came up")
		case <-time.After(daemonPause):
		}
		if scope, err := openScope(ctx, h.client); !errors.Is(err, control.ErrNoDaemon) {
			return scope, err
		}
	}
	return nil, hinted(errors.New("the daemon did not become ready"), "see "+h.log)
}

// leave waits for our ephemeral daemon to clean up, unless other runs use it, or
// what the command has left behind: that may stay for ever.
func (h *helperDaemon) leave(ours *control.Scope) {
	if h == nil {
		return
	}
	for began := time.Now(); time.Since(began) < daemonPatience; {
		select {
		case <-h.done:
			return
		case <-time.After(daemonPause):
		}
		s, err := h.client.Status(context.Background())
		if err == nil && len(s.Capture.Scopes) > 0 && !slices.Contains(s.Capture.Scopes, ours.Cgroup) {
			return
		}
		if time.Since(began) > lastSteps && isPopulated(ours.Cgroup) {
			return
		}
	}
}

// isPopulated reports whether a process is in a cgroup or below it.
func isPopulated(cgroup string) bool {
	events, err := os.ReadFile(filepath.Join(cgroup, "cgroup.events"))
	return err == nil && strings.Contains(string(events), "populated 1")
}

// kill ends a daemon that nobody uses.
func (h *helperDaemon) kill() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.done:
	case <-time.After(daemonPatience):
		_ = h.cmd.Process.Kill()
	}
}

// daemonFailure says why the daemon we started ended: its own last words.
func daemonFailure(logPath string) error {
	log, _ := os.ReadFile(logPath)
	said, hint := "it ended at once", "the whole story is in "+logPath
	for line := range strings.Lines(string(log)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "outwarden: error: "); ok {
			said = text
		}
		if text, ok := strings.CutPrefix(line, "outwarden: hint: "); ok {
			hint = text
		}
	}
	return hinted(errors.New("start the daemon: "+said), hint)
}
