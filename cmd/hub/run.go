package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// lookup reads one environment variable, as os.LookupEnv does.
type lookup func(name string) (string, bool)

// run does what args ask for, and returns when it is done. An error of type usageError is the caller's
// to mend: a bad flag, variable or combination of them.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env lookup) error {
	s, err := parse(args, stdout, stderr, env)
	if err != nil || s.done {
		return err
	}
	switch s.command {
	case "version":
		_, err = fmt.Fprintln(stdout, readVersion())
		return err
	case "token":
		return printToken(s, stdout)
	case "check":
		return check(ctx, s, stdout)
	}
	if err := s.validate(); err != nil {
		return usageError{err}
	}
	come := make(chan os.Signal, 2)
	signal.Notify(come, os.Interrupt, syscall.SIGTERM)
	release := func() { signal.Stop(come) }
	defer release()
	return serve(ctx, s.cfg, stderr, signals{come, release})
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report prints err, if there is one, and returns the exit code: 0, 1 for what went wrong while
// running, 2 for a mistake in how the program was called.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "hub:", err)
	if errors.As(err, &usageError{}) {
		fmt.Fprintln(w, "hub --help lists every setting.")
		return 2
	}
	return 1
}
