package bench

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBadInputIsToldBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.json")
	for line, want := range map[string]string{
		"run fanuot":                                  "fanuot",
		"run fanout --rate=0":                         "--rate=0",
		"run fanout --rate=-5":                        "--rate=-5",
		"run fanout --clients=0":                      "--clients=0",
		"run fanout --clients=ten":                    "clients",
		"run fanout --duration=0s":                    "--duration=0s",
		"run fanout --duration=10":                    "duration",
		"run fanout --topic=a\"b":                     "--topic=",
		"run fanout --url=http://127.0.0.1/":          "want ws://",
		"run fanout --insecure":                       "--insecure and --ca are for a wss:// URL",
		"run fanout --url=ws://192.0.2.1/":            "--allow-remote",
		"run fanout --protocol=mqtt":                  "protocol",
		"run fanout --publish=carrier-pigeon":         "publish",
		"run fanout --publish=http --control=nowhere": "--control=",
		"run fanout --redis=nowhere":                  "--redis",
		"run fanout --source=here":                    "--source=",
		"run fanout --allow=lateness":                 "--allow=lateness",
		"run fanout --loops=0":                        "--loops=0",
		"run fanout --shards=0":                       "--shards=0",
		"run fanout --server-pid=1":                   "--server-pid=1",
		"run fanout --server=x --server-pid=7":        "--server and --server-pid",
		"run unicast --publish=ws":                    "--publish=ws",
		"run churn --publish=ws":                      "--publish=ws",
		"run storm --publish=ws":                      "--publish=ws",
		"run storm --kind=restart":                    "--server",
		"run storm --kind=kill":                       "--server",
		"run storm --restart=true":                    "--kind=restart",
		"run idle --steps=5,5":                        "growing",
		"run max --from=10 --to=5":                    "--from",
		"run max --precision=0":                       "--precision",
		"run max --least=60":                          "--least",
		"run rooms --topics=0":                        "--topics",
		"run connect --rate=5":                        "--rate",
		"compare " + missing + " " + missing:          "missing.json",
		"tune":                                        "--server",
		"tune --server=x --pollers=0":                 "--pollers",
		"baseline floor --addr=nowhere":               "--addr",
		"baseline floor --heartbeat=1ms":              "--heartbeat",
	} {
		o := hubbench(t, t.Context(), strings.Fields(line)...)
		if o.status != exitUsage || !strings.Contains(o.stderr, want) {
			t.Errorf("%s: status %d, want %d and a message with %q", line, o.status, exitUsage, want)
		}
		if o.report != nil {
			t.Errorf("%s: wrote a report", line)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"--help", "run fanout --help", "tune --help"} {
		if o := hubbench(t, t.Context(), strings.Fields(line)...); o.status != exitOK || !strings.Contains(o.stdout, "Usage:") {
			t.Errorf("%s: status %d", line, o.status)
		}
	}
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestServersThatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults faults
		more   []string
		want   string
		ready  int
	}{
		"refuses after some": {faults: faults{refuseAfter: 12}, want: "12 of 20 clients could connect; 8 failed: 8 × refused: 503 Service Unavailable", ready: 12},
		"wrong subprotocol":  {faults: faults{subprotocol: "else"}, more: []string{"--protocol=hub.v1"}, want: "subprotocol"},
		"no WebSocket":       {more: []string{"--control=x"}, want: "400 Bad Request\nhint: the server does not take this handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFaulty(t, c.faults)
			args := append([]string{"run", "fanout", "--clients=20", "--rate=100", "--duration=1s"}, s.flags()...)
			if name == "no WebSocket" {
				args = append(args, "--url=ws"+strings.TrimPrefix(s.URL, "http")+"/api/publish")
				args = append(args, "--control="+s.URL)
			} else {
				args = append(args, c.more...)
			}
			o := hubbench(t, t.Context(), args...)
			if o.status != exitFailed || !strings.Contains(o.stderr, c.want) {
				t.Errorf("status %d, want %d and a message with %q", o.status, exitFailed, c.want)
			}
			if got := o.run(t).Connect.Ready; got != c.ready {
				t.Errorf("%d clients ready in the report, want %d", got, c.ready)
			}
		})
	}
}

func TestNobodyThereIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	o := hubbench(t, t.Context(), "run", "connect", "--url=ws://"+freeAddr(t)+"/")
	if o.status != exitFailed || !strings.Contains(o.stderr, "cannot reach the server") || !strings.Contains(o.stderr, "hint: nobody listens") {
		t.Errorf("status %d", o.status)
	}
}

func TestARedisThatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	args := append([]string{"run", "fanout", "--clients=2"}, s.flags()...)
	o := hubbench(t, t.Context(), append(args, "--publish=redis", "--redis=redis://"+freeAddr(t))...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "redis at") || !strings.Contains(o.stderr, "hint: --redis") || o.run(t).Connect != nil {
		t.Errorf("status %d", o.status)
	}
	o = hubbench(t, t.Context(), append(args, "--publish=redis", "--redis=nowhere")...)
	if o.status != exitUsage || !strings.Contains(o.stderr, "--redis") {
		t.Errorf("status %d", o.status)
	}
}

func TestAServerThatDiesMidwayLeavesPartialResults(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{dieAt: 200})
	args := append([]string{"run", "fanout", "--clients=10", "--rate=200", "--duration=20s"}, s.flags()...)
	o := hubbench(t, t.Context(), args...)
	run := o.run(t)
	if o.status != exitFailed || !strings.Contains(o.stderr, "the server closed every connection") {
		t.Errorf("status %d", o.status)
	}
	if run.Error == "" || run.Counts.Delivered == 0 || run.Load.Latency.Count == 0 || run.Counts.Closed != 10 {
		t.Errorf("partial result: error %q, counts %+v", run.Error, run.Counts)
	}
}

func TestTooManyClientsForTheOpenFilesIsSaid(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	args := append([]string{"run", "connect", "--clients=900000000"}, s.flags()[:1]...)
	o := hubbench(t, t.Context(), args...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "open files") || !strings.Contains(o.stderr, "--shards=") {
		t.Errorf("status %d", o.status)
	}
}

// The interruption comes when the server has seen some of the events, so that there is something to report.
func TestInterruptedRunsReportWhatTheyHave(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
			s.mu.Lock()
			enough := s.events >= 200
			s.mu.Unlock()
			if enough {
				cancel()
				return
			}
		}
	}()
	args := append([]string{"run", "fanout", "--clients=10", "--rate=200", "--duration=1h"}, s.flags()...)
	o := hubbench(t, ctx, args...)
	<-watched
	run := o.run(t)
	if o.status != exitInterrupted || !o.report.Interrupted {
		t.Errorf("status %d, interrupted %t", o.status, o.report.Interrupted)
	}
	if run.Counts.Delivered < 1000 || run.Load == nil || run.Load.Seconds == 0 {
		t.Errorf("partial result: %+v, %+v", run.Counts, run.Load)
	}
}

func TestAScenarioFileRunsEachLine(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	file := filepath.Join(t.TempDir(), "nightly.txt")
	text := "# two\nfanout --clients 5 --rate 50\n\nrooms --topics=3 --followers=2 --rate 60\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := hubbench(t, t.Context(), append([]string{"run", file, "--duration=1s"}, s.flags()...)...)
	if o.status != exitOK || len(o.report.Results) != 2 {
		t.Fatalf("status %d", o.status)
	}
	for i, want := range []struct {
		name      string
		delivered uint64
	}{{"fanout", 250}, {"rooms", 120}} {
		r := o.report.Results[i]
		if r.Scenario != want.name || r.Runs[0].Counts.Delivered != want.delivered {
			t.Errorf("%s delivered %d, want %s %d", r.Scenario, r.Runs[0].Counts.Delivered, want.name, want.delivered)
		}
	}
	for bad, want := range map[string]string{
		"":                       "no scenario",
		"--clients=5":            "line 1",
		"fanout\nrooms 'x":       "line 2",
		"fanout\nrooms --what=1": "scenario 2",
		"compare a b":            "compare",
	} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := hubbench(t, t.Context(), "run", file); o.status != exitUsage || !strings.Contains(o.stderr, want) {
			t.Errorf("%q: status %d", bad, o.status)
		}
	}
	if o := hubbench(t, t.Context(), "run", file+".not"); o.status != exitUsage || !strings.Contains(o.stderr, "no such file") {
		t.Errorf("a file that is not there: status %d, %s", o.status, o.stderr)
	}
}
