package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
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
	return err
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
	var failed []error
	for _, ephemeral := range []bool{false, true} {
		names, err := capture.Detach(pinDir(c, ephemeral))
		removed, failed = append(removed, names...), append(failed, err)
		names, err = removeTables(pinDir(c, ephemeral))
		removed, failed = append(removed, names...), append(failed, err)
	}
	failed = append(failed, removeIfThere(tablesPath(c)))
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
