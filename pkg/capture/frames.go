package capture

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FrameSenders lists the processes in scope that may send frames of their own
// making past IP (CAP_NET_RAW): packet sockets meet no hook of a cgroup, so what
// they send is neither refused nor recorded.
func (c *Capture) FrameSenders() ([]uint32, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	said := c.said()
	var senders []uint32
	for _, pid := range pids {
		proc := procDir(pid)
		if dir, ok := c.cgroupOf(proc); ok && nearest(said, dir) == scopeInclude && mayNetRaw(proc) {
			senders = append(senders, pid)
		}
	}
	return senders, nil
}

// mayNetRaw reads the effective capabilities of a process; one that has left has none.
func mayNetRaw(proc string) bool {
	f, err := os.Open(proc + "/status")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if digits, ok := strings.CutPrefix(lines.Text(), "CapEff:\t"); ok {
			mask, err := strconv.ParseUint(digits, 16, 64)
			return err == nil && mask&(1<<unix.CAP_NET_RAW) != 0
		}
	}
	return false
}
