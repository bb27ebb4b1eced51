// Command outwarden is the daemon and its tools: one binary, one file for each
// command.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, osEnv(), os.Args[1:])
	stop()
	os.Exit(code)
}
