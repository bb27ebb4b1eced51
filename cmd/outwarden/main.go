// Command outwarden is the daemon and its tools: one binary, one file for each
// command.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), heeded(syscall.SIGINT, syscall.SIGTERM)...)
	code := execute(ctx, osEnv(), os.Args[1:])
	stop()
	os.Exit(code)
}

// heeded leaves out what whoever started us has us ignore: a job in the background, or
// one under nohup. What we start is to ignore it too, and would not if we heeded it.
func heeded(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, signal.Ignored)
}
