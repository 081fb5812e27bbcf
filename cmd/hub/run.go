package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// run does what args ask for, and returns when it is done. An error of type usageError is the caller's
// to mend: a bad flag, variable or combination of them. No error has a secret of the settings in its text.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env environment) error {
	s, err := parse(args, stdout, stderr, env)
	if err != nil || s.done {
		return err
	}
	return s.cfg.clean.error(s.do(ctx, stdout, stderr))
}

func (s *settings) do(ctx context.Context, stdout, stderr io.Writer) error {
	switch s.command {
	case "version":
		_, err := fmt.Fprintln(stdout, readVersion())
		return err
	case "help":
		return run(ctx, append(s.line.Help.Command, "--help"), stdout, stderr, s.env)
	case "completion":
		return printCompletion(s.line.Completion.Shell, stdout)
	case "token mint":
		return printToken(s, stdout)
	case "token verify":
		return verifyToken(ctx, s, os.Stdin, stdout)
	case "check":
		return check(ctx, s, stdout)
	case "healthcheck":
		return healthcheck(ctx, s, stdout)
	}
	if err := s.validate(); err != nil {
		return usageError{errors.Join(err, s.doubts())} // one of them may be why
	}
	stop, release := notify()
	defer release()
	return serve(ctx, s, stderr, stop)
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report prints err, if there is one.
func report(w io.Writer, err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(w, "hub:", err)
	if exitCode(err) == 2 {
		fmt.Fprintln(w, "hub --help lists every setting.")
	}
}

// exitCode is 0 without an error, 1 for what went wrong while running, 2 for a mistake in how the program was called.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usageError{}):
		return 2
	}
	return 1
}
