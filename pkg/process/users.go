package process

import (
	"os"
	"strconv"
	"strings"
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

// name returns the login name of uid, or "". An error is a shortage, by which the
// name is not known now.
func (u *users) name(uid uint32) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refresh()
	if name, ok := u.names[uid]; ok {
		return name, nil
	}
	name, err := loginName(u.passwd, uid)
	if short := shortage(err); short != nil {
		return "", short
	}
	u.names[uid] = name
	return name, nil
}

// loginName reads passwd(5) itself: what a C library looks up may be nothing for want
// of a descriptor, and it does not say so.
func loginName(passwd string, uid uint32) (string, error) {
	text, err := os.ReadFile(passwd)
	number := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(line, ":", 4)
		if len(fields) == 4 && fields[2] == number && !strings.ContainsAny(fields[0][:min(1, len(fields[0]))], "#+-") {
			return fields[0], nil
		}
	}
	return "", err
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
