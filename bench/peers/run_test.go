package peers_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestServersAreMeasuredSideBySide runs the short form with the servers that any machine with Go, Redis and Node has. None of
// them may lose or reorder an event.
func TestServersAreMeasuredSideBySide(t *testing.T) {
	drills.Programs(t)
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv(redistest.Required) != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	servers := []string{"wshub", "floor", "goroutines", "node-ws"}
	if _, err := os.Stat("ws/node_modules"); err != nil {
		if os.Getenv("WSHUB_REQUIRE_NODE") != "" {
			t.Fatal(err)
		}
		servers = servers[:3] // the others are measured all the same
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var table, log bytes.Buffer
	run := exec.CommandContext(ctx, "./run", "short", "--rounds=1", "--only="+strings.Join(servers, ","))
	run.Stdout, run.Stderr = &table, &log
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) } // it ends its servers
	if err := run.Run(); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	t.Logf("%s", &table)
	const tables = 4 // one of each scenario
	for _, server := range servers {
		rows := 0
		for line := range strings.Lines(table.String()) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
			if n := len(cells); strings.TrimSpace(cells[0]) != server || n < 6 {
				continue // not a row of figures
			} else if rows++; cells[n-3] != "0" || cells[n-2] != "0" || strings.TrimSpace(cells[n-1]) != "" || cells[1] == "" {
				t.Errorf("%s: %s", server, line)
			}
		}
		if rows != tables {
			t.Errorf("%s has %d rows of figures, want %d", server, rows, tables)
		}
	}
}
