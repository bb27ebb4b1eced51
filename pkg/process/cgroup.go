package process

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
)

// ErrNoCgroup2 is returned where no cgroup v2 file system is mounted.
var ErrNoCgroup2 = errors.New("no cgroup2 file system is mounted")

// CgroupMount finds where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup on
// most hosts, /sys/fs/cgroup/unified on hybrid ones.
func CgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return cgroupMount(f)
}

// cgroupMount reads mountinfo (proc_pid_mountinfo(5)): field 5 is the mount
// point, the first field after "-" the type. Of several mounts the one of the
// whole hierarchy wins, then the first.
func cgroupMount(r io.Reader) (string, error) {
	best, whole := "", false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(left)
		if !ok || len(fields) < 5 || !strings.HasPrefix(right, "cgroup2 ") {
			continue
		}
		if isRoot := fields[3] == "/"; best == "" || isRoot && !whole {
			best, whole = unescapeMount(fields[4]), isRoot
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if best == "" {
		return "", ErrNoCgroup2
	}
	return best, nil
}

// unescapeMount undoes \ooo, by which mountinfo writes space, tab, newline and
// backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseCgroup finds the v2 line of /proc/PID/cgroup ("0::PATH", cgroups(7)). That of
// a cgroup that was removed under its process ends in " (deleted)", which others may
// be called too: whoever needs to know looks whether it is there.
func parseCgroup(b []byte) (path string, ok bool) {
	for line := range bytes.Lines(b) {
		rest, found := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::"))
		if !found {
			continue
		}
		path = string(rest)
		if !strings.HasPrefix(path, "/") {
			return "", false
		}
		return path, true
	}
	return "", false
}
