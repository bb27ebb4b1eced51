package trust

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const preparedName = "prepared.json"

// prepared says of what a directory was made and what was made, so that the next
// Prepare of the same has nothing to do: it is on the way of every start, and
// while a daemon starts anew its workloads are refused.
type prepared struct {
	From  []string `json:"from"`  // stamps of what was read
	Files []string `json:"files"` // stamps of what was written
	Binds []bind   `json:"binds"`
}

// inputs are the stamps of all that the outcome depends on: the root, the stores
// of this host, and the program, which may make them otherwise in another version.
func inputs(root []byte, places []place) []string {
	from := []string{contentName(root), stamp("/proc/self/exe")}
	for _, p := range places {
		from = append(from, stamp(p.path))
	}
	return from
}

// resume takes what was prepared before, if it is of the same inputs and still there.
func (s *Store) resume(from []string) bool {
	var before prepared
	b, err := os.ReadFile(s.path(preparedName))
	if err != nil || json.Unmarshal(b, &before) != nil || !slices.Equal(before.From, from) {
		return false
	}
	s.binds = before.Binds
	return slices.Equal(before.Files, s.files())
}

// remember says what was prepared of what. The stamps of the inputs are older than
// what was read of them, so a change meanwhile is seen the next time.
func (s *Store) remember(from []string) error {
	b, err := json.Marshal(prepared{From: from, Files: s.files(), Binds: s.binds})
	if err != nil {
		return err
	}
	return s.write(preparedName, b)
}

// files are the stamps of what a store consists of.
func (s *Store) files() []string {
	files := []string{stamp(s.path(rootName)), stamp(s.Bundle()), stamp(s.Keystore()), stamp(s.Path())}
	for _, b := range s.binds {
		files = append(files, stamp(s.path(b.Source)))
	}
	return files
}

// stamp tells one state of a file from every other.
func stamp(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return path + ": " + err.Error()
	}
	return fmt.Sprint(path, " ", st.Dev, " ", st.Ino, " ", st.Size, " ", st.Mtim.Nano(), " ", st.Ctim.Nano())
}
