package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wshub/bench/fleet"
)

// contenderLine is the line of a faulty server in a file of servers.
func contenderLine(name string, s *faulty) string {
	return fmt.Sprintf("%s --url=ws%s/notification --settle=0s load='--publish=http --warmup=0s --control=%s'\n", name, strings.TrimPrefix(s.URL, "http"), s.URL)
}

// beside runs hubbench beside with files of these texts.
func beside(t *testing.T, servers, scenarios string, flags ...string) (o outcome) {
	t.Helper()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "servers"), filepath.Join(dir, "scenarios"), filepath.Join(dir, "report.json")}
	for i, text := range []string{servers, scenarios} {
		if err := os.WriteFile(paths[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	args := append([]string{"beside", paths[0], paths[1], "--json=" + paths[2]}, flags...)
	o.status = Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if info, err := os.Stat(paths[2]); err == nil && info.Size() > 0 {
		if o.report, err = readReport(paths[2]); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d\n%s%s", o.status, o.stderr, o.stdout)
	return o
}

// row returns the cells of a server's row in the nth table that has it.
func row(t *testing.T, table, server string, nth int) (cells []string) {
	t.Helper()
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "| "+server+" | "); ok {
			if nth--; nth < 0 {
				for cell := range strings.SplitSeq(strings.TrimSuffix(rest, " |"), " | ") {
					cells = append(cells, strings.TrimSpace(cell))
				}
				return cells
			}
		}
	}
	t.Fatalf("no row %d of %s in\n%s", nth, server, table)
	return nil
}

func TestFindingsOfServersAreEachOnesOwn(t *testing.T) {
	t.Parallel()
	servers := contenderLine("good", newFaulty(t, faults{})) + contenderLine("bad", newFaulty(t, faults{repeatEvery: 10})) +
		"absent needs=no-such-program get='make it'\n"
	o := beside(t, servers, "fanout --clients=5 --rate=200 --duration=200ms\nconnect --clients=5", "--rounds=2", "--ratio=good")
	if o.status != exitFound || o.report == nil || len(o.report.Results) != 4 {
		t.Fatalf("status %d", o.status)
	}
	for _, r := range o.report.Results {
		if len(r.Runs) != 2 {
			t.Errorf("%s of %s has %d runs", r.Scenario, r.Server, len(r.Runs))
		}
	}
	last := func(name string) string { cells := row(t, o.stdout, name, 0); return cells[len(cells)-1] }
	if good, bad := last("good"), last("bad"); good != "" || !strings.HasSuffix(bad, " repeated") {
		t.Errorf("good %q, bad %q", good, bad)
	}
	if !strings.Contains(o.stdout, "`fanout --clients=5 --rate=200 --duration=200ms`") || !strings.Contains(o.stdout, "absent is left out: no-such-program is not here; get it with: make it.") {
		t.Error("the table names no scenario, or not who is left out")
	}
	// Of connects the first ratio follows the figure.
	if cells := row(t, o.stdout, "good", 1); cells[1] != "1.00" || !strings.Contains(cells[0], " to ") {
		t.Errorf("connects: %q", cells)
	}
}

func TestAServerThatFailsLeavesTheOthersTheirTurns(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(nil)
	dead.Close()
	servers := "dead --url=ws" + strings.TrimPrefix(dead.URL, "http") + "/notification\n" + contenderLine("good", newFaulty(t, faults{}))
	o := beside(t, servers, "connect --clients=5", "--rounds=2")
	if o.status != exitFailed || !strings.Contains(o.stdout, "dead: came to no end in 2 of 2 runs") {
		t.Errorf("status %d", o.status)
	}
	if cells := row(t, o.stdout, "good", 0); cells[0] == "" {
		t.Errorf("%q", cells)
	}
}

// taking is a measurement of n servers by two scenarios in which each run takes a second of virtual time.
func taking(n, rounds int, limit time.Duration, turns *[]string) *besides {
	b := &besides{
		app: &app{stderr: io.Discard}, besideCommand: &besideCommand{Rounds: rounds, Limit: limit},
		servers: make([]contender, n), lines: [][]string{{"idle"}, {"rooms"}}, began: time.Now(),
	}
	b.once = func(_ context.Context, line, server int) error {
		time.Sleep(time.Second)
		*turns = append(*turns, fmt.Sprint(line, server))
		return nil
	}
	return b
}

func TestServersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns []string
		if err := taking(3, 3, time.Hour, &turns).measureAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "0 0,0 1,0 2,1 0,1 1,1 2," + "0 0,0 2,0 1,1 0,1 2,1 1," + "0 2,0 0,0 1,1 2,1 0,1 1"
		if got := strings.Join(turns, ","); got != want {
			t.Errorf("turns %s, want %s", got, want)
		}
	})
}

func TestNoRoundBeginsThatWouldEndBehindTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns []string
		b := taking(3, 50, 20*time.Second, &turns) // 6 s a round
		if err := b.measureAll(t.Context()); err != nil || b.rounds != 3 || len(turns) != 18 {
			t.Errorf("%d rounds, %d runs, %v", b.rounds, len(turns), err)
		}
	})
}

// searched is a run of max whose trials are at these rates: kept up with up to the rate best, and lost beyond it.
func searched(best float64, notes []string, rates ...float64) *Run {
	run := &Run{Max: &Maximum{}, Notes: notes}
	for _, rate := range rates {
		trial := Trial{Rate: rate, Load: LoadPart{Latency: Latency{P99: rate / 100}, ServerCPU: 5}}
		if trial.Kept = rate <= best; !trial.Kept {
			trial.Why = "7 deliveries lost"
		}
		run.Max.Trials = append(run.Max.Trials, trial)
	}
	return run
}

func TestRatesThatAreDoubledStandSideBySide(t *testing.T) {
	s := &maxScenario{Start: 100}
	good := &Result{Scenario: "max", Server: "good", Runs: []*Run{searched(400, nil, 100, 200, 400), searched(200, nil, 100, 200, 400, 400, 283)}}
	bad := &Result{Scenario: "max", Server: "bad", Runs: []*Run{searched(100, nil, 100, 200, 200), searched(100, nil, 100, 200, 200)}}
	b := &besides{lines: [][]string{{"max"}}, scenarios: [][]scenario{{s, s}}, results: [][]*Result{{good, bad}}}
	var out strings.Builder
	b.writeLadder(&out, 0)
	for server, want := range map[string][]string{
		"p99, ms, and server CPU-s per million at": {"100/s", "200/s", "400/s"},
		"good": {"1.00, 5.00", "2.00, 5.00", "4.00, 5.00"}, // one run of two kept up with the last
		"bad":  {"1.00, 5.00", "7 deliveries lost", ""},
	} {
		if got := row(t, out.String(), server, 0); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", server, got, want)
		}
	}
}

func TestARowTellsWhatCameWrongAndHowRunsEnded(t *testing.T) {
	r := &Result{Runs: []*Run{
		{Counts: fleet.Counts{Lost: 2, Reordered: 1, Closed: 4}},
		{Counts: fleet.Counts{Lost: 3, Repeated: 1}, Error: "the server died.\nhint: look"},
		searched(1, []string{"the search ended at 5/s, where the publisher was late", "others were busy"}, 1),
	}}
	if got := strings.Join(found(r), "|"); got != "5|1|1 repeated, 4 closed" {
		t.Error(got)
	}
	want := []string{"came to no end in 1 of 3 runs: the server died", "its search ended early in 1 of 3 runs: the search ended at 5/s, where the publisher was late"}
	if got := besideRemarks(r); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsMeasuredSideBySideMakesSense(t *testing.T) {
	t.Parallel()
	good := contenderLine("good", newFaulty(t, faults{}))
	for _, c := range []struct{ servers, scenarios, flag, want string }{
		{good, "compare a b", "", "compare"},
		{good, "fanout --clients=0", "", "--clients"},
		{good, "fanout", "--rounds=0", "--rounds"},
		{good, "fanout", "--limit=0s", "--limit"},
		{good, "fanout", "--ratio=nobody", "--ratio"},
		{good, "fanout", "--only=nobody", "--only"},
		{"good needs=no-such-program", "fanout", "", "none of the servers"},
		{"good --nothing=1", "fanout", "", "--nothing"},
		{"good fanout", "fanout", "", "want needs="},
	} {
		flags := slices.DeleteFunc([]string{c.flag}, func(s string) bool { return s == "" })
		if o := beside(t, c.servers, c.scenarios, flags...); o.status != exitUsage || !strings.Contains(o.stderr, c.want) {
			t.Errorf("%+v: status %d", c, o.status)
		}
	}
}
