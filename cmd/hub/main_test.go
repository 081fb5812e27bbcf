package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestMain also plays the hub, see buildHub.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == playedHub {
		main()
	}
	others := 6
	if os.Getenv(drills.Variable) == "short" {
		others = 9
	}
	drills.Parallel(10, others) // they mostly wait
	// While its server is away, a pool of go-redis looks for it in a goroutine that sees the pool's Close up to
	// a second later.
	goleak.VerifyTestMain(redistest.Sharing(m), goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.Cleanup(func(code int) {
			built.remove()
			os.Exit(code)
		}))
}

// call runs the program with args and variables, and returns its exit code and what it printed. A hub that
// comes to run stops in a moment.
func call(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if len(args) > 0 && args[0] == "run" {
		cancel()
	}
	var out, errs bytes.Buffer
	err := run(ctx, args, &out, &errs, environment{vars: env})
	report(&errs, err)
	return exitCode(err), out.String(), errs.String()
}

// parsed returns what the program makes of env and args, which must be right.
func parsed(t *testing.T, env map[string]string, args ...string) *settings {
	t.Helper()
	return parsedWith(t, environment{vars: env}, args...)
}

// parsedWith is parsed on a machine of which something is known.
func parsedWith(t *testing.T, env environment, args ...string) *settings {
	t.Helper()
	var out, errs bytes.Buffer
	s, err := parse(args, &out, &errs, env)
	if err == nil {
		err = s.validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}
