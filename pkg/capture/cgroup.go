package capture

import (
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
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return findCgroup2(string(mounts))
}

// findCgroup2 finds it in a mountinfo. Of several the one of the whole hierarchy wins,
// then the first, as in pkg/process.
func findCgroup2(mountinfo string) (string, error) {
	const root, point = 3, 4 // fields
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	best := ""
	for line := range strings.Lines(mountinfo) {
		mount, source, ok := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if !ok || len(fields) <= point || !strings.HasPrefix(source, "cgroup2 ") {
			continue
		}
		if fields[root] == "/" {
			return unescape.Replace(fields[point]), nil
		}
		if best == "" {
			best = unescape.Replace(fields[point])
		}
	}
	if best == "" {
		return "", ErrNoCgroup2
	}
	return best, nil
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
