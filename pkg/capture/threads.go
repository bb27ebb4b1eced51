package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The first thread of a process, which its directory in /proc tells of, may end
// before the others. It has no files and no namespaces then, and stays in the cgroup
// where it was. And each thread may have files and a network namespace of its own.

// threads lists the directories of a process's threads.
func threads(proc string) []string {
	entries, err := os.ReadDir(proc + "/task")
	if err != nil {
		return nil // it has left
	}
	dirs := make([]string, len(entries))
	for i, e := range entries {
		dirs[i] = proc + "/task/" + e.Name()
	}
	return dirs
}

// living is the directory of a process or, where its first thread has ended, of one
// that has not.
func living(proc string) string {
	if isLiving(proc) {
		return proc
	}
	all := threads(proc)
	if i := slices.IndexFunc(all, isLiving); i >= 0 {
		return all[i]
	}
	return proc
}

func isLiving(task string) bool {
	_, err := os.Readlink(task + "/ns/net")
	return err == nil
}

// fileTables gives one of the threads that share a table of descriptors. Where many
// have one each, some may be given twice.
func fileTables(threads []string) (found []string) {
	const most = 4 // that are compared
	for _, t := range threads {
		known := found[:min(len(found), most)]
		if !slices.ContainsFunc(known, func(other string) bool { return shareFiles(other, t) }) {
			found = append(found, t)
		}
	}
	return found
}

// shareFiles reports whether two threads have one table of descriptors. A kernel that
// cannot tell is taken to say so: almost all do.
func shareFiles(a, b string) bool {
	const files = 2 // KCMP_FILES
	one, _ := strconv.Atoi(filepath.Base(a))
	other, _ := strconv.Atoi(filepath.Base(b))
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(one), uintptr(other), files, 0, 0, 0)
	return errno == unix.ENOSYS || errno == 0 && order == 0
}

// namespaces are network namespaces by their names, each with files that stand for it
// as long as some process is there.
type namespaces map[string][]string

// note takes down those that threads are in.
func (n namespaces) note(threads []string) {
	seen := map[string]bool{}
	for _, t := range threads {
		path := t + "/ns/net"
		if name, err := os.Readlink(path); err == nil && !seen[name] {
			seen[name] = true
			n[name] = append(n[name], path)
		}
	}
}

// each calls f inside every one that is still there.
func (n namespaces) each(f func() error) (failed []error) {
	for name, paths := range n {
		if ns, ok := openNamed(name, paths); ok {
			failed = append(failed, in(ns, f), ns.Close())
		}
	}
	return failed
}

// openNamed opens the first of the files that is still what it was.
func openNamed(name string, paths []string) (netns.NsHandle, bool) {
	for _, path := range paths {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			continue
		}
		var s unix.Stat_t
		if err := unix.Fstat(int(ns), &s); err == nil && fmt.Sprintf("net:[%d]", s.Ino) == name {
			return ns, true
		}
		_ = ns.Close()
	}
	return netns.None(), false
}
