package process

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// kernelID names the executable of d as the kernel keeps it, by the device of
// its superblock and its inode there. Where stat(2) makes up other numbers for
// the same file (subvolumes of btrfs, some layers of an overlay) the hook and
// stat(2) disagree, and only this tells whether they speak of one file. Kernels
// before 5.14 do not tell the inode; then the answer is zero.
func kernelID(d dir) flow.ExeID {
	f, err := d.open("exe")
	if err != nil {
		return flow.ExeID{}
	}
	defer f.Close()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return flow.ExeID{}
	}
	inode, mount, ok := parseFdinfo(info)
	if !ok {
		return flow.ExeID{}
	}
	const limit = 4 << 20
	mounts, err := d.read("mountinfo", limit)
	if err != nil {
		return flow.ExeID{}
	}
	dev, ok := deviceOf(mounts, mount)
	if !ok {
		return flow.ExeID{}
	}
	return flow.ExeID{Dev: dev, Inode: inode}
}

// parseFdinfo finds "ino:" and "mnt_id:" (proc_pid_fdinfo(5)).
func parseFdinfo(b []byte) (inode uint64, mount string, ok bool) {
	for line := range bytes.Lines(b) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "ino":
			n, err := strconv.ParseUint(value, 10, 64)
			inode, ok = n, err == nil
		case "mnt_id":
			mount = value
		}
	}
	return inode, mount, ok && mount != ""
}

// deviceOf finds the device, field 3, of the mount with that id, field 1, in
// mountinfo (proc_pid_mountinfo(5)).
func deviceOf(mounts []byte, id string) (uint64, bool) {
	for line := range bytes.Lines(mounts) {
		fields := strings.Fields(string(line))
		if len(fields) < 3 || fields[0] != id {
			continue
		}
		major, minor, _ := strings.Cut(fields[2], ":")
		ma, err1 := strconv.ParseUint(major, 10, 32)
		mi, err2 := strconv.ParseUint(minor, 10, 32)
		if err1 != nil || err2 != nil {
			return 0, false
		}
		return unix.Mkdev(uint32(ma), uint32(mi)), true
	}
	return 0, false
}
