// Command hub is wshub's server: it reads the settings, wires engine, session and pubsub together, opens
// the public and the control port, and drains when it is told to stop.
//
//	hub            run (the default)
//	hub check      check the settings and print what they come to
//	hub token      print a token for development, or verify one
//	hub version    print the version
//	hub completion have a shell complete commands and flags
//	hub help       print the commands and settings
//
// # Where to look
//
// A setting: config.go; what it may be: validate.go; what does not go together: conflicts.go. What variables there are:
// environ.go, envfile.go, and how much memory: memory.go, cgroup.go. What happens between start and end: serve.go, signals.go. The
// control port: control.go, who may use it: guard.go, how many: callers.go, its calls: publish.go, events.go and
// target.go, its metrics: metrics.go. Who is let in, and what is kept: tokens.go, history.go. What reaches a log: log.go,
// how it gets there: logqueue.go, and what never does: redact.go.
package main

import (
	"context"
	"os"
	"time"
)

func main() {
	env := environment{vars: variables(os.Environ()), room: systemMemory(os.DirFS("/")), file: envFile{name: usualEnvFile}}
	err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr, env)
	reported := make(chan struct{})
	go func() {
		report(os.Stderr, err)
		close(reported)
	}()
	select {
	case <-reported:
	case <-time.After(logPatience): // nobody reads
	}
	os.Exit(exitCode(err))
}
