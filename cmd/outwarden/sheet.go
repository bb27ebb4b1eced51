package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/process"
)

// sheet prints names and values, one a line. Values are made safe for a terminal
// here; what is empty is left out.
type sheet struct {
	w     io.Writer
	paint painter
	err   error
}

func (s *sheet) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *sheet) title(text, more string) {
	s.printf("%s  %s\n", s.paint.in(bold, audit.Printable(text)), s.paint.in(dim, audit.Printable(more)))
}

func (s *sheet) gap() { s.printf("\n") }

func (s *sheet) field(name, value string) { s.painted(name, value, "") }

func (s *sheet) painted(name, value, colour string) {
	if value != "" {
		s.printf("  %s %s\n", s.paint.in(dim, fmt.Sprintf("%-15s", name)), s.paint.in(colour, audit.Printable(value)))
	}
}

func (s *sheet) digest(name string, d audit.Digest) {
	if !d.IsZero() {
		s.field(name, d.String())
	}
}

// identity prints who a process is.
func (s *sheet) identity(p *process.Identity) {
	if p == nil {
		s.painted("process", "unknown", red)
		return
	}
	exe := p.Exe
	if exe == "" && p.ExeInside != "" {
		exe = p.ExeInside + " (as the process sees it)"
	}
	s.painted("executable", orNone(exe, "unknown"), cyan)
	s.field("sha256", p.ExeSHA256)
	s.field("command", commandLine(p.Argv))
	s.field("process", fmt.Sprintf("pid %d, started %s", p.PID, p.Start.Local().Format("2006-01-02 15:04:05.00")))
	s.field("user", strings.TrimSpace(fmt.Sprintf("%s (uid %d)", p.User, p.UID)))
	s.field("unit", p.Unit)
	s.field("user unit", p.UserUnit)
	s.field("container", p.Container)
	s.field("pod", p.Pod)
	s.field("cgroup", p.Cgroup)
	s.field("called by", ancestry(p.Parents))
}

// commandLine quotes what a shell would split.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]{}`") {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// ancestry is the way up to init, nearest first.
func ancestry(parents []process.Parent) string {
	var names []string
	for _, p := range parents {
		names = append(names, fmt.Sprintf("%s(%d)", exeName(&process.Identity{Exe: p.Exe}), p.PID))
	}
	return strings.Join(names, " ← ")
}
