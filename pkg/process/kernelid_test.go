package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// mapped is the executable of pid as its memory map shows it: superblock's
// device and inode, as the hook sees them.
func mapped(t testing.TB, pid uint32) flow.ExeID {
	t.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	must(t, err)
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[5] != exe {
			continue
		}
		var major, minor uint32
		var inode uint64
		_, err := fmt.Sscanf(fields[3]+" "+fields[4], "%x:%x %d", &major, &minor, &inode)
		must(t, err)
		return flow.ExeID{Dev: unix.Mkdev(major, minor), Inode: inode}
	}
	t.Fatalf("%s is not mapped", exe)
	return flow.ExeID{}
}

func TestKernelIDIsWhatTheKernelKeeps(t *testing.T) {
	s := spawn(t, self("wait"))
	d, err := openDir("/proc", s.pid)
	must(t, err)
	defer d.close()
	if got, want := kernelID(d), mapped(t, s.pid); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The lower layer of this overlay lies on another file system than the upper,
// and stat(2) gives its files a device of their own.
func TestExecutableOnAnOverlay(t *testing.T) {
	netnstest.RequireRoot(t)
	cmd := exec.Command("sh", "-c", `cd "$1" && mount -t tmpfs a . && mkdir low up && mount -t tmpfs b low && mount -t tmpfs c up &&
		mkdir up/dir up/work merged && cp "$2" low/program &&
		mount -t overlay -o lowerdir=low,upperdir=up/dir,workdir=up/work,xino=off o merged && exec merged/program`,
		"sh", t.TempDir(), copyOf(t, "/proc/self/exe"))
	cmd.Env = append(os.Environ(), child+"=wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	s := spawn(t, cmd)
	r := NewResolver(Options{})
	f := connected(t, r, s.pid)
	byStat := f.Caller.Exe
	f.Caller.Exe = mapped(t, s.pid)
	t.Logf("stat says %+v, the kernel %+v", byStat, f.Caller.Exe)
	got, err := r.Resolve(f)
	must(t, err)
	if len(got.ExeSHA256) != 64 || got.ExeInside == "" {
		t.Errorf("the executable is unknown: %s", got.JSON())
	}
	f.Caller.Exe.Inode++
	got, err = r.Resolve(f)
	must(t, err)
	wantUnknown(t, got)
}

func FuzzKernelID(f *testing.F) {
	f.Add([]byte("pos:\t0\nflags:\t02\nmnt_id:\t29\nino:\t7\n"), []byte("29 1 8:1 / / rw - ext4 a rw\n"))
	f.Fuzz(func(t *testing.T, fdinfo, mounts []byte) {
		if _, mount, ok := parseFdinfo(fdinfo); ok && mount == "" {
			t.Error("no mount")
		}
		deviceOf(mounts, "29")
	})
}
