package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wshub/pubsub/redistest/drills"
)

func TestEveryScenarioMeasuresWhatItSays(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for line, assert := range map[string]func(*testing.T, *Run){
		"idle --steps=10,20,40 --rest=100ms --watch=300ms": func(t *testing.T, r *Run) {
			if len(r.Idle.Steps) != 3 || r.Idle.Steps[2].Connections != 40 || r.Idle.Steps[2].RSS == 0 || r.Idle.Watched == 0 {
				t.Errorf("%+v", r.Idle)
			}
		},
		"idle --steps=10,20 --rest=0s --watch=0s --events=3": func(t *testing.T, r *Run) {
			if r.Idle.Events != 3 || r.Idle.Reached <= 0 || r.Counts.Delivered != 60 {
				t.Errorf("%+v, %+v", r.Idle, r.Counts)
			}
		},
		"idle --users --private --steps=10 --rest=0s --watch=0s": func(t *testing.T, r *Run) {
			if len(r.Idle.Steps) != 1 {
				t.Errorf("%+v", r.Idle)
			}
		},
		"idle --protocol=hub.v1 --users --steps=10 --rest=0s --watch=0s": func(t *testing.T, r *Run) {
			if len(r.Idle.Steps) != 1 || r.Idle.Steps[0].Connections != 10 {
				t.Errorf("%+v", r.Idle)
			}
		},
		"connect --clients=50": func(t *testing.T, r *Run) {
			if r.Connect.Ready != 50 || r.Connect.Handshake.Count != 50 || r.Connect.Rate <= 0 {
				t.Errorf("%+v", r.Connect)
			}
		},
		"connect --clients=50 --shards=2 --connect-rate=200": func(t *testing.T, r *Run) {
			if r.Connect.Ready != 50 || r.Connect.Handshake.Count != 50 || r.Connect.Rate > 300 {
				t.Errorf("%+v", r.Connect)
			}
		},
		"rooms --topics=10 --followers=3 --rate=200 --duration=1s": func(t *testing.T, r *Run) {
			if r.Counts.Delivered != 600 || r.Load.Wanted != 600 {
				t.Errorf("%+v, %+v", r.Counts, r.Load)
			}
		},
		"unicast --clients=20 --rate=200 --duration=1s": func(t *testing.T, r *Run) {
			if r.Counts.Delivered != 200 {
				t.Errorf("%+v", r.Counts)
			}
		},
		"inbound --clients=20 --rate=200 --duration=1s": func(t *testing.T, r *Run) {
			if r.Counts.Sent < 200 || r.Counts.Delivered != r.Counts.Sent {
				t.Errorf("%+v", r.Counts)
			}
		},
		"inbound --clients=20 --rate=200 --duration=1s --protocol=hub.v1": func(t *testing.T, r *Run) {
			if r.Counts.Delivered != r.Counts.Sent || r.Counts.Acked != r.Counts.Sent {
				t.Errorf("%+v", r.Counts)
			}
		},
		"fanout --publish=ws --shards=2 --clients=20 --rate=100 --duration=1s": func(t *testing.T, r *Run) {
			if r.Counts.Sent < 100 || r.Counts.Delivered != 20*r.Counts.Sent || r.Load.Latency.Count < 2000 {
				t.Errorf("%+v", r.Counts)
			}
		},
		"churn --clients=40 --churn=50 --rate=50 --duration=2s": func(t *testing.T, r *Run) {
			if r.Churn.Handshake.Count < 80 || r.Counts.Left < 80 || r.Counts.Closed != 0 {
				t.Errorf("%+v, %+v", r.Churn, r.Counts)
			}
		},
		"storm --clients=40 --rate=100 --duration=3s --window=300ms": func(t *testing.T, r *Run) {
			if r.Storm.Away != 20 || r.Storm.Back == 0 || r.Storm.CaughtUp < r.Storm.Back || r.Counts.Missed == 0 {
				t.Errorf("%+v, %+v", r.Storm, r.Counts)
			}
		},
		"storm --protocol=hub.v1 --clients=40 --rate=100 --duration=3s --window=300ms": func(t *testing.T, r *Run) {
			if r.Storm.Away != 20 || r.Counts.Missed != 0 || r.Counts.Gaps != 0 || r.Counts.Delivered < 40*280 {
				t.Errorf("%+v, %+v", r.Storm, r.Counts)
			}
		},
		"max --clients=5 --from=2 --to=4 --trial=1s --p99=5s --tries=5": func(t *testing.T, r *Run) {
			if len(r.Max.Trials) < 2 || r.Max.Best == nil || r.Max.Best.Rate != 4 {
				t.Errorf("%+v", r.Max)
			}
		},
		"soak --clients=5 --rate=50 --duration=2s --interval=100ms": func(t *testing.T, r *Run) {
			if r.Drift == nil || r.Drift.P99First <= 0 || r.Drift.P99Last <= 0 || len(r.Series) < 4 {
				t.Errorf("%+v, %d points", r.Drift, len(r.Series))
			}
		},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(line)
			args := append([]string{"run", words[0]}, newFaulty(t, faults{}).flagsOf(words[0])...)
			args = append(args, words[1:]...)
			o := hubbench(t, t.Context(), args...)
			if o.status != exitOK {
				t.Errorf("status %d", o.status)
			}
			assert(t, o.run(t))
		})
	}
}

func TestAnswersThatComeBehindTheLastEventAreCounted(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{answerAfter: 300 * time.Millisecond})
	o := hubbench(t, t.Context(), append([]string{"run", "inbound", "--clients=20", "--rate=100", "--duration=200ms", "--protocol=hub.v1"}, s.flagsOf("inbound")...)...)
	if c := o.run(t).Counts; o.status != exitOK || c.Sent == 0 || c.Acked != c.Sent {
		t.Errorf("status %d, %+v", o.status, c)
	}
}

// A server that keeps no history says so, and then what was sent meanwhile is missed and not lost.
func TestAGapThatTheServerTellsIsNoLoss(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{forgetful: true})
	args := append([]string{"run", "storm", "--protocol=hub.v1", "--clients=10", "--rate=100", "--duration=3s", "--window=300ms"}, s.flags()...)
	o := hubbench(t, t.Context(), args...)
	if c := o.run(t).Counts; o.status != exitOK || c.Gaps != 5 || c.Missed == 0 || c.Lost != 0 {
		t.Errorf("status %d, %+v", o.status, c)
	}
}

// Clients see the drop even though they were away: the server promised that all would follow.
func TestALossInWhatWasPromisedIsALoss(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{dropEvery: 100})
	args := append([]string{"run", "storm", "--protocol=hub.v1", "--clients=10", "--rate=100", "--duration=3s", "--window=300ms"}, s.flags()...)
	o := hubbench(t, t.Context(), args...)
	if c := o.run(t).Counts; o.status != exitFound || c.Lost == 0 || c.Missed != 0 {
		t.Errorf("status %d, %+v", o.status, c)
	}
}

// ownServer are the flags for a server that hubbench starts and stops itself.
func ownServer(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	return []string{
		"--server=" + self + " serve " + addr, "--url=ws://" + addr + "/notification",
		"--control=http://" + addr, "--publish=http", "--settle=0s",
	}
}

func TestACrowdComesBackAfterARestart(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	for _, kind := range []string{"restart", "kill"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"run", "storm", "--kind=" + kind, "--clients=20", "--rate=50", "--duration=5s", "--warmup=0s"}, ownServer(t)...)
			o := hubbench(t, t.Context(), args...)
			run := o.run(t)
			if o.status != exitOK || run.Storm.Away != 20 || run.Counts.Ready != 20 || run.Storm.Attempts < 20 {
				t.Errorf("status %d, %+v", o.status, run.Storm)
			}
			for _, pid := range run.Server.PIDs {
				if _, err := use(pid); err == nil {
					t.Errorf("process %d was left behind", pid)
				}
			}
		})
	}
}

// Else most of its memory and CPU would be nobody's, and it would have the port that the next run wants.
func TestAWorkerThatComesLateIsWeighedAndEnded(t *testing.T) {
	t.Parallel()
	flags := ownServer(t)
	flags[0] += " worker"
	args := append([]string{"run", "connect", "--clients=5"}, flags[0], flags[1], flags[4])
	run := hubbench(t, t.Context(), args...).run(t)
	if len(run.Server.PIDs) != 2 {
		t.Errorf("processes %v, want two", run.Server.PIDs)
	}
	for _, pid := range run.Server.PIDs {
		eventually(t, fmt.Sprintf("process %d ends", pid), func() bool { _, err := use(pid); return err != nil })
	}
}

func TestTuneTriesEachCombination(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tune.json")
	args := append([]string{"tune", "--pollers=1,2", "--workers=3", "--clients=4", "--from=4", "--to=4", "--trial=500ms", "--warmup=0s", "--p99=9s", "--tries=5", "--json=" + path}, ownServer(t)...)
	o := hubbench(t, t.Context(), args...)
	report, err := readReport(path)
	if err != nil || o.status != exitOK || len(report.Results) != 2 {
		t.Fatalf("status %d, %v", o.status, err)
	}
	for _, want := range []string{"--pollers=1 --workers=3", "--pollers=2 --workers=3"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no row %s", want)
		}
	}
}

func TestAServerThatDoesNotStartIsToldWithItsWords(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	o := hubbench(t, t.Context(), "run", "connect", "--server=ls /no/such/thing", "--url=ws://"+addr+"/")
	if o.status != exitFailed || !strings.Contains(o.stderr, "ended before it listened") || !strings.Contains(o.stderr, "/no/such/thing") {
		t.Errorf("status %d", o.status)
	}
	s := newFaulty(t, faults{})
	o = hubbench(t, t.Context(), "run", "connect", "--server=ls", s.flags()[0])
	if o.status != exitFailed || !strings.Contains(o.stderr, "is taken") {
		t.Errorf("status %d", o.status)
	}
}

func TestAServerThatListensElsewhereIsTold(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	for command, said := range map[string]string{"sleep 60": "It said:\nnothing\n", "sh -c 'echo elsewhere; exec sleep 60'": "It said:\nelsewhere\n"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := startServer(ctx, command, netip.MustParseAddrPort(addr))
		cancel()
		if err == nil || !strings.Contains(err.Error(), "does not listen on "+addr) || !strings.Contains(err.Error(), said) || !strings.Contains(err.Error(), "--url") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestAnIdleConnectionThatIsDeafIsFound(t *testing.T) {
	drills.InProcess(t) // it waits for callPatience
	t.Parallel()
	s := newFaulty(t, faults{dropEvery: 2})
	args := append([]string{"run", "idle", "--steps=10", "--rest=0s", "--watch=0s", "--events=3"}, s.flagsOf("idle")...)
	o := hubbench(t, t.Context(), args...)
	if c := o.run(t).Counts; o.status != exitFound || c.Lost != 10 || c.Delivered != 20 {
		t.Errorf("status %d, %+v", o.status, c)
	}
}
