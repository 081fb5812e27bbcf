// Command hub is wshub's server: it reads the settings, wires engine, session and pubsub together, opens
// the public and the control port, and drains when it is told to stop.
//
//	hub            run (the default)
//	hub check      check the settings and print their values
//	hub healthcheck
//	               ask a running hub how it is
//	hub token      print a token for development, or verify one
//	hub version    print the version
//	hub completion print the line that makes a shell complete commands and flags
//	hub help       print the commands and settings
//
// # Which file
//
//	settings              config.go; their ranges: validate.go; conflicts between them: conflicts.go
//	variables             environ.go, envfile.go
//	memory                memory.go, cgroup.go, gc.go
//	from start to end     serve.go, signals.go; after SIGHUP: reload.go; a service manager: notify.go
//	control port          control.go; its access: guard.go; its limits: callers.go; its metrics: metrics.go
//	calls of the API      publish.go, events.go, target.go
//	tokens, histories     tokens.go, history.go
//	log                   log.go, logqueue.go; secrets kept out of it: redact.go
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
