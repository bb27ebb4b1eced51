package vault

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrForeignLink is returned for a path that leads over another user's symbolic link.
var ErrForeignLink = errors.New("symbolic link of another user")

// maxLinks are followed for one path, as by the kernel (path_resolution(7)).
const maxLinks = 40

// reading is how a file is opened: at once, for a pipe in its place would hold us up for
// ever.
const reading = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC

// open opens a file for reading, by whatever links.
func open(path string) (*os.File, error) { return os.OpenFile(path, reading, 0) }

// openOurs is open by the symbolic links of root and of our own user alone: who may write
// to the directory that one lies in, and to nothing else, could lead us to any file that
// root can read, and have it sent.
func openOurs(path string) (*os.File, error) {
	if _, err := os.Stat(path); err != nil { // first, for what is mounted on demand
		return nil, err
	}
	fd, err := walk(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// walk goes one name at a time to what path leads to, and opens it.
func walk(path string) (int, error) {
	at, err := step(unix.AT_FDCWD, start(path))
	for links := 0; err == nil; {
		name, rest, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
		if name == "" {
			name = "."
		}
		var to string
		to, err = link(int(at.Fd()), name)
		switch {
		case err != nil:
		case to == "" && strings.Trim(rest, "/") == "":
			fd, err := openat(int(at.Fd()), name, reading|unix.O_NOFOLLOW)
			_ = at.Close()
			return fd, err
		case to == "":
			at, err = into(at, name)
			path = rest
		case links == maxLinks:
			err = unix.ELOOP
		default:
			if links++; to[0] == '/' {
				at, err = into(at, "/")
			}
			path = to + "/" + rest
		}
	}
	_ = at.Close() // nil, if there is none
	return -1, err
}

// into goes on from a directory, which it closes.
func into(at *os.File, name string) (*os.File, error) {
	defer at.Close()
	return step(int(at.Fd()), name)
}

func start(path string) string {
	if strings.HasPrefix(path, "/") {
		return "/"
	}
	return "."
}

// step names what lies in a directory, without a link being followed.
func step(dir int, name string) (*os.File, error) {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openat(dir int, name string, how int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, how, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// link returns where a symbolic link leads; "" for what is none. It is one and the same
// that is judged and read.
func link(dir int, name string) (string, error) {
	f, err := step(dir, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is a %w, uid %d (try: chown -h root, and its directory too)", name, ErrForeignLink, st.Uid)
	}
	var to [unix.PathMax]byte
	n, err := unix.Readlinkat(int(f.Fd()), "", to[:])
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(to[:max(n, 0)]), err
}
