//go:build linux

// Package million has no code of Go: these tests run its script.
package million

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

// held is the part of hubbench's report that the tests ask for.
type held struct {
	Results []struct {
		Held bool
		Runs []struct {
			Idle struct {
				Steps []struct {
					Connections int
					RSS, Client int64
					Kernel      struct{ Slab int64 }
				}
				PerConnection float64 `json:"rss_per_connection"`
				Events        int
			}
			Counts struct{ Delivered, Lost int }
		}
	}
}

// run has the script hold n connections, and reads its report.
func run(t *testing.T, n, steps, events int, env ...string) held {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "./run")
	cmd.Env = append(os.Environ(), "N="+strconv.Itoa(n), "STEPS="+strconv.Itoa(steps), "EVENTS="+strconv.Itoa(events), "OUT="+out)
	cmd.Env = append(cmd.Env, env...)
	text, err := cmd.CombinedOutput()
	t.Logf("%s", text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var h held
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	if len(h.Results) != 1 || len(h.Results[0].Runs) != 1 || !h.Results[0].Held {
		t.Fatalf("not held: %s", b)
	}
	r := h.Results[0].Runs[0]
	if len(r.Idle.Steps) != steps || r.Idle.Steps[steps-1].Connections != n {
		t.Errorf("steps %+v, want %d up to %d connections", r.Idle.Steps, steps, n)
	}
	if r.Idle.Events != events || r.Counts.Delivered != n*events || r.Counts.Lost != 0 {
		t.Errorf("%d events, %+v", r.Idle.Events, r.Counts)
	}
	return h
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it had no connection
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestTheScriptHoldsConnectionsWithoutAGuest(t *testing.T) {
	drills.Programs(t)
	run(t, 2000, 2, 2, "MODE=auto", "REST=100ms", "WATCH=0s", "PORT="+freePort(t), "CONTROL="+freePort(t))
}

func TestTheScriptSaysWhatIsMissing(t *testing.T) {
	drills.Programs(t)
	for want, env := range map[string][]string{
		"MODE=guest":            {"MODE=native", "N=999999999"},
		"MiB":                   {"MODE=guest", "N=999999999"},
		"want native, guest":    {"MODE=other"},
		"N=many: want a number": {"N=many"},
		"STEPS=9: want at most": {"N=8", "STEPS=9"},
	} {
		cmd := exec.CommandContext(t.Context(), "./run")
		cmd.Env = append(append(os.Environ(), "OUT="+t.TempDir(), "HUB=/bin/true", "HUBBENCH=/bin/true"), env...)
		text, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: %v, %s; want %q", env, err, text, want)
		}
	}
}

// A guest holds five times as many connections as most machines let one process have files.
func TestAGuestHoldsAHundredThousand(t *testing.T) {
	drills.Measurement(t)
	mode := "MODE=guest"
	if _, err := exec.LookPath("linux.uml"); err != nil {
		mode = "MODE=qemu"
		if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
			t.Skip("it needs busybox-static, and user-mode-linux or qemu-system-x86")
		}
	}
	const n, most, mostOfClient = 100_000, 700, 250
	h := run(t, n, 5, 2, mode)
	idle := h.Results[0].Runs[0].Idle
	if idle.PerConnection <= 0 || idle.PerConnection > most {
		t.Errorf("%.0f B a connection, want at most %d", idle.PerConnection, most)
	}
	// All of hubbench, its program and its histograms too: 15 MiB before the first connection.
	if each := idle.Steps[4].Client / n; each > mostOfClient {
		t.Errorf("hubbench takes %d B a connection, want at most %d", each, mostOfClient)
	}
}
