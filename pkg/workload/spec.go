package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Spec is one command and what surrounds it.
type Spec struct {
	Args   []string `json:"args"`             // Args[0] is a path, or a name to find in PATH of Env
	Env    []string `json:"env"`              // the whole environment
	Dir    string   `json:"dir,omitempty"`    // working directory; "" = the caller's
	Cgroup string   `json:"cgroup,omitempty"` // directory of the cgroup to join; "" = stay
	Trust  string   `json:"trust,omitempty"`  // path of a prepared trust.Store; "" = no mounts
	User   *User    `json:"user,omitempty"`   // whom to become; nil = stay who we are, capabilities and all
}

// User is whom the command runs as.
type User struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"` // supplementary
}

// Command returns the child to start: self is the path of our own program and
// args are those that make its main call Main; the number of a descriptor follows
// them. Standard streams are the caller's to set. close releases the Spec once the
// child has been started; who executes something else before hands it that too. What
// we ourselves were given from descriptor 3 on is the command's as it is.
func (s *Spec) Command(self string, args ...string) (cmd *exec.Cmd, close func(), err error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.MemfdCreate("outwarden-workload", 0) // by its own number: a fixed one may be in use
	if err != nil {
		return nil, nil, fmt.Errorf("make a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "workload")
	if _, err := f.Write(b); err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	cmd = exec.Command(self, append(slices.Clone(args), strconv.Itoa(fd))...)
	return cmd, func() { _ = f.Close() }, nil
}

// Main is the child's part: it reads the Spec that Command handed over and
// becomes the command. It returns only if that failed.
func Main() *Error {
	fd, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil {
		return &Error{CodeSetup, errors.New("no descriptor of a specification: this is for run alone")}
	}
	f := os.NewFile(uintptr(fd), "workload")
	var s Spec
	err = json.NewDecoder(f).Decode(&s)
	_ = f.Close()
	if err != nil {
		return &Error{CodeSetup, fmt.Errorf("read the workload's specification: %w", err)}
	}
	return s.Exec()
}
