package capture

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rootCgroup is the id of the root of the whole cgroup tree.
const rootCgroup = 1

// Cgroup2 is where cgroup2 is mounted, as Open finds it; ErrNoCgroup2 if it is not.
func Cgroup2() (string, error) { return cgroupMount() }

// IsCgroupRoot reports whether a directory is the root of the whole cgroup tree;
// a container may see but a part of it.
func IsCgroupRoot(dir string) bool {
	id, err := cgroupID(dir)
	return err == nil && id == rootCgroup
}

// cgroupMount finds the cgroup2 mount. On hybrid hosts it is not /sys/fs/cgroup.
func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		mount, source, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if ok && len(fields) > 4 && strings.HasPrefix(source, "cgroup2 ") {
			return fields[4], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read mountinfo: %v", err)
	}
	return "", ErrNoCgroup2
}

// ownCgroup is the id of the cgroup this process is in.
func ownCgroup(root string) (uint64, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return cgroupID(filepath.Join(root, strings.TrimSuffix(path, "\n")))
		}
	}
	return 0, fmt.Errorf("/proc/self/cgroup: %w", ErrNoCgroup2)
}

// cgroupID is the kernel's id of a cgroup: the inode of its directory. Ids are
// never used again, so one of a cgroup that is gone is merely useless.
func cgroupID(dir string) (uint64, error) {
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", dir, err)
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("cgroup %s: not a directory", dir)
	}
	return s.Ino, nil
}
