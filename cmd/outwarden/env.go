package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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

	flush func() // of stderr, at the end; nil: nothing is held back

	config string // --config
	output string // --output
}

func osEnv() *env {
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
		terminal: term.IsTerminal(int(os.Stdout.Fd())),
	}
}

// colour reports whether to use colours: on a terminal, unless NO_COLOR says
// otherwise (no-color.org).
func (e *env) colour() bool { return e.terminal && e.getenv("NO_COLOR") == "" }

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
	root := newRootCmd(e)
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(ctx)
	code := exitDone
	if err != nil {
		code = e.fail(err)
	}
	if e.flush != nil {
		e.flush()
	}
	return code
}

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
	fmt.Fprintf(e.stderr, "outwarden: error: %v\n", err)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(e.stderr, "outwarden: hint: %s\n", hint)
	}
	return code
}
