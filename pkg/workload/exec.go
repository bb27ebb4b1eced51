package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/trust"
)

// Exit codes, as env(1), nohup(1) and the shells have them.
const (
	CodeSetup      = 125 // we failed before the command was tried
	CodeNotRunning = 126 // the command was found but cannot be run
	CodeNotFound   = 127 // there is no such command
)

// Error tells why the command did not start. Exit with Code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Exec becomes the command; it returns only if that failed. The order matters:
// cgroup, mounts, then privileges, then the search in PATH with the rights that
// the command will have.
func (s *Spec) Exec() *Error {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return &Error{CodeSetup, errors.New("no command given")}
	}
	runtime.LockOSThread() // namespaces and capabilities belong to a thread; exec keeps those of this one
	for _, step := range []func() error{s.join, s.mount, s.become, s.enter} {
		if err := step(); err != nil {
			return &Error{CodeSetup, err}
		}
	}
	path, e := s.find()
	if e != nil {
		return e
	}
	err := unix.Exec(path, s.Args, s.Env)
	code := CodeNotRunning
	if errors.Is(err, unix.ENOENT) { // the interpreter of a script, or of the binary, is missing
		code = CodeNotFound
	}
	return &Error{code, fmt.Errorf("run %s: %w", path, err)}
}

// join moves the process, all threads of it, into the cgroup.
func (s *Spec) join() error {
	if s.Cgroup == "" {
		return nil
	}
	const self = "0" // cgroup.procs takes 0 for the writer
	if err := os.WriteFile(filepath.Join(s.Cgroup, "cgroup.procs"), []byte(self), 0); err != nil {
		return fmt.Errorf("join cgroup: %w", err)
	}
	return nil
}

func (s *Spec) mount() error {
	if s.Trust == "" {
		return nil
	}
	store, err := trust.Open(s.Trust)
	if err != nil {
		return fmt.Errorf("open trust store: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return store.Mount()
}

// enter goes where the command is to run: after the change of user, who may
// not be allowed there, and after the new mount namespace.
func (s *Spec) enter() error {
	if s.Dir == "" {
		return nil
	}
	return os.Chdir(s.Dir)
}

// find looks Args[0] up as execvp(3) does. Something that is there but cannot
// be run is remembered while the search goes on.
func (s *Spec) find() (string, *Error) {
	name := s.Args[0]
	if strings.Contains(name, "/") {
		if err := runnable(name); err != nil {
			return "", &Error{codeOf(err), fmt.Errorf("%s: %w", name, err)}
		}
		return name, nil
	}
	found := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(s.path()) {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + name
		err := runnable(path)
		if err == nil {
			return path, nil
		}
		if codeOf(err) == CodeNotRunning {
			found = err
		}
	}
	if errors.Is(found, unix.ENOENT) {
		return "", &Error{CodeNotFound, fmt.Errorf("%s: command not found", name)}
	}
	return "", &Error{CodeNotRunning, fmt.Errorf("%s: %w", name, found)}
}

// path is PATH of the command's environment; without one the system's default
// (confstr _CS_PATH).
func (s *Spec) path() string {
	for i := len(s.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(s.Env[i], "PATH="); ok {
			return v
		}
	}
	return "/bin:/usr/bin"
}

func runnable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

func codeOf(err error) int {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return CodeNotFound
	}
	return CodeNotRunning
}
