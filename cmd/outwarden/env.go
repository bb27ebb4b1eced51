package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/outwarden/outwarden/pkg/config"
)

// version is set by the linker: -X main.version=...
var version = "dev"

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// env is what a command sees of the world, so that tests can run one in-process.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	terminal       bool // stdout is one: colours are welcome
	errTerminal    bool // stderr is one

	flush func() // of stderr, at the end; nil: nothing is held back

	config string // --config
	output string // --output
}

func osEnv() *env {
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
		terminal: term.IsTerminal(int(os.Stdout.Fd())), errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// colour reports whether to use colours on stdout: on a terminal, unless NO_COLOR says
// otherwise (no-color.org).
func (e *env) colour() bool { return e.terminal && e.getenv("NO_COLOR") == "" }

// errColour is colour for stderr.
func (e *env) errColour() bool { return e.errTerminal && e.getenv("NO_COLOR") == "" }

// json reports whether -o json was asked for.
func (e *env) json() bool { return e.output == "json" }

// loadConfig reads the configuration that --config names, or the default one.
func (e *env) loadConfig() (*config.Config, error) {
	cfg, _, err := config.Load(e.config)
	return cfg, err
}

// loadPlaces reads where the daemon of that configuration keeps things, whatever
// else is wrong with it.
func (e *env) loadPlaces() (*config.Config, error) { return config.LoadPlaces(e.config) }

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, e *env, args []string) int {
	out := &output{w: e.stdout}
	e.stdout = out
	root := newRootCmd(e)
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err // what could not be told was not done
	}
	code := exitDone
	if err != nil {
		code = e.fail(err)
	}
	if e.flush != nil {
		e.flush()
	}
	return code
}

// output remembers that something could not be written, for whoever printed it and
// did not look.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// endBySignal lets SIGINT and SIGTERM end a command that does not look at its context,
// as they would without us.
func endBySignal() { signal.Reset(syscall.SIGINT, syscall.SIGTERM) }

// fail prints an error and its hint, and returns the exit code it stands for.
func (e *env) fail(err error) int {
	code := exitFailed
	if exit, ok := errors.AsType[exitError](err); ok {
		if exit.err == nil {
			return exit.code
		}
		code = exit.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		code = exitUsage
	}
	fmt.Fprintf(e.stderr, "outwarden: error: %s\n", printable(err.Error()))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(e.stderr, "outwarden: hint: %s\n", printable(hint))
	}
	return code
}
