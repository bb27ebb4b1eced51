package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that a person can see shows how it is used, and its help is no
// error.
func TestHelpShowsAnExample(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if !c.Runnable() && c.HasParent() {
			return
		}
		seen++
		if c.Short == "" || !strings.Contains(c.Example, "outwarden") {
			t.Errorf("%s: no description or no example", c.CommandPath())
		}
		var out, failed bytes.Buffer
		e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &failed, getenv: func(string) string { return "" }}
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code := execute(context.Background(), e, args); code != exitDone || !strings.Contains(out.String(), "Examples:") || failed.Len() > 0 {
			t.Errorf("%v: exit %d\n%s%s", args, code, &out, &failed)
		}
	}
	visit(newRootCmd(osEnv()))
	if seen < 10 {
		t.Errorf("only %d commands were looked at", seen)
	}
}
