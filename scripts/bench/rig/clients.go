package main

import (
	"os/exec"
	"path/filepath"
	"strings"
)

// clients finds the executables that may have the credential, and those that
// links below w.dir make others of.
func (w *world) clients() error {
	w.exes = w.path("clients", "*")
	for _, name := range []string{"wrk", "h2load", filepath.Join(w.plan.programs, "client")} {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
		w.exes += ", " + path
	}
	return nil
}

// scope is the cgroup of the clients, as the product is told.
func (w *world) scope() string { return strings.TrimPrefix(w.client.dir, w.mounted) }
