package process

import (
	"os/user"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// users remembers names by uid until the user database changes.
type users struct {
	passwd string // file whose change makes the names stale

	mu    sync.Mutex
	stamp unix.Timespec
	names map[uint32]string
}

const maxUsers = 4096

func newUsers() *users {
	return &users{passwd: "/etc/passwd", names: make(map[uint32]string)}
}

// name returns the login name of uid, or "".
func (u *users) name(uid uint32) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refresh()
	if name, ok := u.names[uid]; ok {
		return name
	}
	name := ""
	if found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		name = found.Username
	}
	u.names[uid] = name
	return name
}

func (u *users) refresh() {
	var st unix.Stat_t
	if unix.Stat(u.passwd, &st) != nil {
		st.Ctim = unix.Timespec{}
	}
	if st.Ctim != u.stamp || len(u.names) >= maxUsers {
		u.stamp = st.Ctim
		clear(u.names)
	}
}
