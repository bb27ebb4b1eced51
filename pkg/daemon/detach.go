package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/netfilter"
	"github.com/outwarden/outwarden/pkg/process"
)

// pinDir is where the hooks of a daemon are pinned. An ephemeral one has its
// own: it must neither take over what a stopped daemon left to the fail policy,
// nor remove it when it leaves.
func pinDir(c *config.Config, ephemeral bool) string {
	dir := cmp.Or(c.Capture.PinDir, capture.DefaultPinDir)
	if !ephemeral {
		return dir
	}
	sum := sha256.Sum256([]byte(c.RunDir)) // whose daemons are never two at once
	return dir + "-run-" + hex.EncodeToString(sum[:4])
}

// pinsPath says where the hooks of the newest daemon are, for the one after it: the
// configuration may name another place by then.
func pinsPath(c *config.Config) string { return filepath.Join(c.RunDir, "pins") }

// formerPins is where the newest daemon has pinned its hooks; "" if that is not known.
func formerPins(c *config.Config) string {
	if oursAlone(c.RunDir) != nil {
		return "" // whoever's it is may name the hooks of another
	}
	dir, _ := os.ReadFile(pinsPath(c))
	return strings.TrimSuffix(string(dir), "\n")
}

func (d *Daemon) pins() string { return pinDir(d.atStart, d.o.Ephemeral) }

// replaceEphemeral removes the hooks of an ephemeral daemon that died, once ours
// have its runs in scope.
func (d *Daemon) replaceEphemeral() error {
	if d.o.Ephemeral {
		return nil
	}
	_, err := capture.Detach(pinDir(d.atStart, true))
	if d.atStart.Capture.Backend != config.Rewrite {
		_, failed := removeTables(pinDir(d.atStart, true))
		err = errors.Join(err, failed)
	}
	d.replaceFormer()
	return err
}

// replaceFormer removes the hooks that the daemon before us has pinned elsewhere, now
// that ours are in force: they would refuse what ours lead to us.
func (d *Daemon) replaceFormer() {
	former := formerPins(d.atStart)
	if former == d.pins() {
		return
	}
	if former != "" && capture.InUse(former) == nil {
		d.report("hooks of the daemon before us", removeHooks(former, nil))
	}
	d.report("note where the hooks are", replaceFile(pinsPath(d.atStart), []byte(d.pins()+"\n")))
}

// removeHooks removes the hooks that are pinned in a directory, and the tables that
// belong to them, and notes what it removed.
func removeHooks(pins string, removed *[]string) error {
	hooks, err := capture.Detach(pins)
	tables, failed := removeTables(pins)
	if removed != nil {
		*removed = append(append(*removed, hooks...), tables...)
	}
	return errors.Join(err, failed)
}

// Detach removes what daemons of a configuration left in the kernel: hooks, and
// the cgroups and sockets of runs that are over. It returns what it removed. A
// daemon that lives is ErrRunning.
func Detach(ctx context.Context, c *config.Config) (removed []string, err error) {
	if isDir(c.RunDir) {
		lock, err := lockFile(ctx, lockPath(c))
		if err != nil {
			return nil, err
		}
		defer lock.Close()
	}
	all := []string{pinDir(c, false), pinDir(c, true)}
	if former := formerPins(c); former != "" && !slices.Contains(all, former) {
		all = append(all, former)
	}
	for _, pins := range all { // a daemon may have another run_dir, or somebody has removed it
		if err := unlessUsed(capture.InUse(pins)); err != nil {
			return nil, err
		}
	}
	var failed []error
	for _, pins := range all {
		failed = append(failed, removeHooks(pins, &removed))
	}
	failed = append(failed, removeIfThere(tablesPath(c)), removeIfThere(pinsPath(c)))
	runs, err := removeRuns(c)
	return append(removed, runs...), errors.Join(append(failed, err)...)
}

// removeRuns removes the cgroups of runs that nobody is in any more, and the
// socket of a daemon that died.
func removeRuns(c *config.Config) (removed []string, err error) {
	for _, dir := range readRuns(runsPath(c)) {
		if removeTree(dir) == nil { // one that is in use stays: it is the workload's
			removed = append(removed, "cgroup "+dir)
		}
	}
	if len(readRuns(runsPath(c))) == 0 {
		err = removeIfThere(runsPath(c))
	}
	if os.Remove(SocketPath(c)) == nil {
		removed = append(removed, "socket "+SocketPath(c))
	}
	return removed, errors.Join(err, removeIfThere(filepath.Join(c.RunDir, "daemon.log")))
}

// removeTables removes everything of a name, in our own network namespace and in
// all others that somebody is in.
func removeTables(pins string) (removed []string, err error) {
	name := tableName(pins)
	removed, err = netfilter.Remove(nil, name)
	failed := []error{err}
	failed = append(failed, eachNamespace(func(ns *os.File) error {
		gone, err := netfilter.Remove(ns, name)
		removed = append(removed, gone...)
		return err
	}))
	return removed, errors.Join(failed...)
}

// eachNamespace opens the network namespace of every process, and those that a file
// keeps though nobody is in them, each once and without our own.
func eachNamespace(f func(*os.File) error) error {
	r := process.NewResolver(process.Options{})
	home, err := process.OwnNetns()
	if err != nil {
		return err
	}
	seen := map[process.Netns]bool{home: true}
	var failed []error
	visit := func(files []*os.File) {
		for _, file := range files {
			if ns, err := process.NetnsOf(file); err == nil && !seen[ns] {
				seen[ns] = true
				failed = append(failed, f(file))
			}
			failed = append(failed, file.Close())
		}
	}
	mounted, err := r.MountedNetns()
	failed = append(failed, err)
	visit(mounted)
	err = r.Inhabitants(func(pid uint32, ns process.Netns) bool {
		if seen[ns] {
			return true
		}
		caller, err := r.Caller(pid)
		if err != nil {
			return true // it has left; whoever else is there comes later
		}
		files, _ := r.OpenNetns(pid, caller.Caller.Start, func(other process.Netns) bool { return other != ns })
		visit(files)
		return true
	})
	return errors.Join(append(failed, err)...)
}
