// Command hubbench is the load tester of wshub: see package bench.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"wshub/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(bench.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
