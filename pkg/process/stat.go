package process

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// tick is one unit of field 22: USER_HZ is 100 on every architecture Go runs on.
const tick = 10 * time.Millisecond

var errStat = errors.New("malformed stat line")

// stat is what we need of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	state byte   // field 3; Z and X are dead
	ppid  uint32 // field 4
	start uint64 // field 22, ticks since boot
}

// dead reports whether only the exit status is left of the process.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// startedAt reports whether the process began at d since boot, at tick grain.
func (s stat) startedAt(d time.Duration) bool { return s.start == ticks(d) }

// SameStart reports whether two starts may be those of one process: some are known
// at tick grain only.
func SameStart(a, b time.Duration) bool { return ticks(a) == ticks(b) }

// ticks is how the kernel shows d in field 22: rounded down.
func ticks(d time.Duration) uint64 {
	if d < 0 {
		return 0
	}
	return uint64(d / tick)
}

// parseStat reads the fields after the command name. The name may hold spaces
// and parentheses, so the last ')' ends it.
func parseStat(b []byte) (stat, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return stat{}, errStat
	}
	const state, ppid, start = 3, 4, 22
	fields := bytes.Fields(b[end+1:])
	if len(fields) <= start-state || len(fields[0]) != 1 {
		return stat{}, errStat
	}
	parent, err := strconv.ParseUint(string(fields[ppid-state]), 10, 32)
	if err != nil {
		return stat{}, errStat
	}
	began, err := strconv.ParseUint(string(fields[start-state]), 10, 64)
	if err != nil {
		return stat{}, errStat
	}
	return stat{state: fields[0][0], ppid: uint32(parent), start: began}, nil
}

// effective reads the second number of a line of /proc/PID/status: "Uid:" and
// "Gid:" list real, effective, saved and file system id. A line that is not
// there or malformed reads as the overflow id, which owns nothing.
func effective(status []byte, name string) uint32 {
	const overflow = 65534
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		ids := bytes.Fields(rest)
		if len(ids) < 2 {
			return overflow
		}
		id, err := strconv.ParseUint(string(ids[1]), 10, 32)
		if err != nil {
			return overflow
		}
		return uint32(id)
	}
	return overflow
}
