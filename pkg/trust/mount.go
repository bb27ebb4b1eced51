package trust

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrSharedMounts is returned by Mount where a mount would reach the host.
var ErrSharedMounts = errors.New("mounts here propagate to another mount namespace")

// Mount binds the copies over the stores they were made from, read-only. It is
// for the child that becomes the workload: call it on a locked thread after
// unshare(CLONE_NEWNS) and after making every mount private. It refuses where a
// mount is still shared. Everything ends with the namespace.
func (s *Store) Mount() error {
	if err := checkPrivate(); err != nil {
		return err
	}
	for _, b := range s.binds {
		err := mount(s.path(b.Source), b.Target)
		if errors.Is(err, unix.ENOENT) {
			if _, e := os.Stat(b.Target); errors.Is(e, os.ErrNotExist) {
				continue // removed since Prepare: nobody reads it
			}
		}
		if err != nil {
			return fmt.Errorf("bind over %s: %w", b.Target, err)
		}
	}
	return nil
}

func mount(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return unix.Mount("", target, "", flags, "")
}

// checkPrivate reads the optional fields of mountinfo, those between the mount
// options and " - " (proc_pid_mountinfo(5)).
func checkPrivate() error {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(b) {
		left, _, _ := bytes.Cut(line, []byte(" - "))
		for i, field := range bytes.Fields(left) {
			const optional = 6
			if i >= optional && bytes.HasPrefix(field, []byte("shared:")) {
				return ErrSharedMounts
			}
		}
	}
	return nil
}
