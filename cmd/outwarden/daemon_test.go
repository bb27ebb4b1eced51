package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A version that is installed by turning a link is the one that an upgrade starts. A
// name that leads to another program is not ours.
func TestSuccessorByTheNameThatStartedUs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, to := range map[string]string{"outwarden": self, "other": "/bin/sh"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "outwarden")
	t.Setenv("PATH", dir)
	t.Chdir(dir)
	defer func(args []string) { os.Args = args }(os.Args)
	for name, want := range map[string]string{
		link: link, "./outwarden": link, "outwarden": link,
		filepath.Join(dir, "other"): self, "sh": self, "none": self, "": self,
	} {
		os.Args = []string{name}
		argv, err := new(env).successor()
		if err != nil || argv[0] != want {
			t.Errorf("started as %q: %v, %v, want %s", name, argv, err, want)
		}
	}
}
