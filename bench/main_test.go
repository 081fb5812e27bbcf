package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wshub/pubsub/redistest/drills"
)

// TestMain also plays hubbench itself, the shard that --shards starts, and a server that --server starts: the test's
// own program, run with these words.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "shard":
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	case len(os.Args) > 1 && os.Args[1] == "hubbench":
		args := HideSecrets(os.Args[2:])
		os.Exit(Main(Interrupts(os.Stderr), args, os.Stdin, os.Stdout, os.Stderr))
	case len(os.Args) > 2 && os.Args[1] == "serve":
		if slices.Contains(os.Args[3:], "deaf") {
			signal.Ignore(syscall.SIGTERM)
		}
		fmt.Println(serve(os.Args[2], slices.Contains(os.Args[3:], "worker")))
		os.Exit(1)
	case len(os.Args) > 1 && os.Args[1] == "worker":
		signal.Ignore(syscall.SIGTERM) // it stands for one that misses it
		time.Sleep(time.Minute)        // its group is ended before
		return
	}
	drills.Parallel(24, 4) // they mostly wait
	goleak.VerifyTestMain(m)
}

// serve is a server without faults. With a worker it starts a process that has the same listener when the first client is
// here, as some servers do after they listen.
func serve(addr string, worker bool) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &faulty{history: map[string][]string{}, conns: map[*faultyConn]bool{}}
	if !worker {
		return http.Serve(listener, server)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	start := sync.OnceValue(func() error {
		child := exec.Command(os.Args[0], "worker")
		child.ExtraFiles = []*os.File{file}
		return child.Start()
	})
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := start(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		server.ServeHTTP(w, r)
	}))
}

// outcome is what a command line led to.
type outcome struct {
	status         int
	stdout, stderr string
	report         *Report // nil where none was written
}

// hubbench runs a command line that writes a report, and reads it.
func hubbench(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	if args[0] == "run" {
		args = append(args, "--json="+path)
	}
	var stdout, stderr bytes.Buffer
	o := outcome{status: Main(ctx, args, strings.NewReader(""), &stdout, &stderr)}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if _, err := os.Stat(path); err == nil {
		if o.report, err = readReport(path); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("hubbench %s: %d\n%s%s", strings.Join(args, " "), o.status, o.stderr, o.stdout)
	return o
}

// run is the only run of the report.
func (o outcome) run(t *testing.T) *Run {
	t.Helper()
	if o.report == nil || len(o.report.Results) != 1 || len(o.report.Results[0].Runs) != 1 {
		t.Fatalf("no single run was reported: %s", o.stderr)
	}
	return o.report.Results[0].Runs[0]
}
