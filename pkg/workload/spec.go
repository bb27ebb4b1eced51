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
	Args   []string // Args[0] is a path, or a name to find in PATH of Env
	Env    []string // the whole environment
	Dir    string   // working directory; "" = the caller's
	Cgroup string   // directory of the cgroup to join; "" = stay
	Trust  string   // path of a prepared trust.Store; "" = no mounts
	User   *User    // whom to become; nil = stay who we are, capabilities and all
}

// User is whom the command runs as.
type User struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"` // supplementary
}

// wire is a Spec on its way to the child. What the system takes for a string may be
// any bytes, and JSON has no string that is not text.
type wire struct {
	Args   [][]byte `json:"args"`
	Env    [][]byte `json:"env"`
	Dir    []byte   `json:"dir,omitempty"`
	Cgroup []byte   `json:"cgroup,omitempty"`
	Trust  []byte   `json:"trust,omitempty"`
	User   *User    `json:"user,omitempty"`
}

func (s *Spec) encode() ([]byte, error) {
	return json.Marshal(wire{
		Args: each[[]byte](s.Args), Env: each[[]byte](s.Env),
		Dir: []byte(s.Dir), Cgroup: []byte(s.Cgroup), Trust: []byte(s.Trust), User: s.User,
	})
}

func decode(r io.Reader) (*Spec, error) {
	var w wire
	if err := json.NewDecoder(r).Decode(&w); err != nil {
		return nil, err
	}
	return &Spec{
		Args: each[string](w.Args), Env: each[string](w.Env),
		Dir: string(w.Dir), Cgroup: string(w.Cgroup), Trust: string(w.Trust), User: w.User,
	}, nil
}

// each converts every element of a list.
func each[To, From string | []byte](list []From) []To {
	out := make([]To, len(list))
	for i, v := range list {
		out[i] = To(v)
	}
	return out
}

// Command returns the child to start: self is the path of our own program and
// args are those that make its main call Main; the number of a descriptor follows
// them. Standard streams are the caller's to set. close releases the Spec once the
// child has been started; who executes something else before hands it that too. What
// we ourselves were given from descriptor 3 on is the command's as it is.
func (s *Spec) Command(self string, args ...string) (cmd *exec.Cmd, close func(), err error) {
	b, err := s.encode()
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
	s, err := decode(f)
	_ = f.Close()
	if err != nil {
		return &Error{CodeSetup, fmt.Errorf("read the workload's specification: %w", err)}
	}
	return s.Exec()
}
