package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/outwarden/outwarden/pkg/process"
)

// oneCaller refuses flags that contradict one another: the answer would be about
// somebody else.
func oneCaller(flags *pflag.FlagSet) error {
	running := flags.Changed("pid")
	if running && flags.Lookup("pid").Value.String() == "0" {
		return usageError{errors.New("0 is no process"), "--pid names one that runs, as ps lists it"}
	}
	for _, name := range []string{"exe", "user", "unit", "cgroup"} {
		if running && flags.Changed(name) {
			return usageError{fmt.Errorf("--pid and --%s both say who calls", name), "leave one of them out"}
		}
	}
	return nil
}

// callerOf is the process that was asked about: one that runs, or what is said of it.
func callerOf(pid uint32, said *process.Identity) (*process.Identity, error) {
	if pid != 0 {
		return identify(pid)
	}
	nameUser(said)
	if said.Exe == "" {
		return said, nil
	}
	exe, err := filepath.Abs(said.Exe)
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real // as the kernel names it; what is not there may be on another host
	}
	said.Exe = exe
	return said, err
}

// nameUser finds the name of a number and the number of a name, as routes have either.
// A user that is not told, or that another host has, is no number, least of all root's.
func nameUser(said *process.Identity) {
	said.UID = process.NoUID
	u, err := user.Lookup(said.User)
	if err != nil {
		u, err = user.LookupId(said.User)
	}
	number := said.User
	if err == nil {
		said.User, number = u.Username, u.Uid
	}
	if uid, err := strconv.ParseUint(number, 10, 32); err == nil {
		said.UID = uint32(uid)
	}
}

// identify tells who a running process is.
func identify(pid uint32) (*process.Identity, error) {
	r := process.NewResolver(process.Options{})
	f, err := r.Caller(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noProcess(pid)
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	id, err := r.Resolve(f)
	if err == nil && id.Gone {
		err = os.ErrProcessDone
	}
	if err == nil && id.Exe == "" {
		err = mayAsk(pid)
	}
	return id, err
}

// noProcess is for a pid that /proc does not have; with hidepid= it does not show those
// of others.
func noProcess(pid uint32) error {
	err := fmt.Errorf("process %d: there is none", pid)
	if os.Geteuid() != 0 {
		return hinted(err, "root sees those of others too: sudo outwarden ...")
	}
	return err
}

// mayAsk is an error where a process has an executable and we may not know which: it is
// not unknown to the daemon.
func mayAsk(pid uint32) error {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return nil
}
