package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wshub/bench/fleet"
)

func TestTheSearchFindsTheLimit(t *testing.T) {
	for name, c := range map[string]struct{ from, most, limit, low, high float64 }{
		"above the start":     {50, 0, 1000, 952, 1000},
		"below the start":     {50, 0, 7, 6.6, 7},
		"at the start":        {50, 0, 50, 50, 50},
		"beyond the end":      {50, 300, 1000, 300, 300},
		"nothing can be kept": {50, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSearch(c.from, 0.1, c.most, 0.05)
			best, tries := 0.0, 0
			for rate, ok := s.next(); ok; rate, ok = s.next() {
				kept := rate <= c.limit
				if s.record(kept); kept {
					best = max(best, rate)
				}
				if tries++; tries > 50 {
					t.Fatal("it does not end")
				}
			}
			if best < c.low || best > c.high {
				t.Errorf("found %g, want %g to %g", best, c.low, c.high)
			}
		})
	}
}

func TestSlopes(t *testing.T) {
	if got := slope([]float64{0, 1000, 2000}, []float64{5e6, 5.6e6, 6.2e6}); math.Abs(got-600) > 1e-6 {
		t.Errorf("got %g, want 600", got)
	}
	for _, x := range [][]float64{nil, {1}, {2, 2}} {
		if got := slope(x, make([]float64, len(x))); got != 0 {
			t.Errorf("%v: got %g", x, got)
		}
	}
}

func TestDriftComparesTheEndsOfALongRun(t *testing.T) {
	var series []Point
	for i := range 100 {
		p := Point{T: float64(i) * 36, RSS: int64(1000 * i)}
		if i >= 20 && i < 90 { // events flow
			p.Latency = Latency{Count: 1, P99: float64(i)}
		}
		series = append(series, p)
	}
	d := driftOf(series)
	if math.Abs(d.RSSHour-100_000) > 1 || d.P99First != 28 || d.P99Last != 81 || d.RSSLast <= d.RSSFirst {
		t.Errorf("%+v", d)
	}
	if d := driftOf(nil); d != (Drift{}) {
		t.Errorf("of nothing: %+v", d)
	}
}

func TestVerdictsNeedMoreThanTheRunsOwnSpread(t *testing.T) {
	runs := func(better string, n int, low, mid, high float64) Summary {
		return Summary{Name: "x", Better: better, Median: mid, Min: low, Max: high, Runs: n}
	}
	for want, pairs := range map[string][][2]Summary{
		betterThan:   {{runs("less", 5, 10, 11, 12), runs("less", 5, 7, 8, 9)}, {runs("more", 5, 1, 2, 3), runs("more", 5, 4, 5, 6)}},
		worseThan:    {{runs("less", 5, 7, 8, 9), runs("less", 5, 10, 11, 12)}, {runs("more", 5, 4, 5, 6), runs("more", 5, 1, 2, 3)}},
		withinSpread: {{runs("less", 5, 7, 8, 10), runs("less", 5, 9, 11, 12)}},
		noSpread:     {{runs("less", 1, 8, 8, 8), runs("less", 5, 10, 11, 12)}},
		"":           {{runs("", 5, 7, 8, 9), runs("", 5, 10, 11, 12)}},
	} {
		for _, pair := range pairs {
			if got := verdict(pair[0], pair[1]); got != want {
				t.Errorf("%+v: %q, want %q", pair, got, want)
			}
		}
	}
}

// reportOf is a report with one result of the given p99s.
func reportOf(t *testing.T, p99 ...float64) string {
	t.Helper()
	result := &Result{Scenario: "fanout"}
	for _, v := range p99 {
		result.Runs = append(result.Runs, &Run{Load: &LoadPart{
			Offered: 100, Wanted: 1000, Delivered: 1000, Latency: Latency{Count: 10, P50: v / 2, P99: v, Max: v},
		}})
	}
	result.Summary = summarize(result.Runs)
	report := newReport(nil)
	report.Results = []*Result{result}
	var b bytes.Buffer
	if err := report.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReportsAreComparedSideBySide(t *testing.T) {
	slow, fast, faster := reportOf(t, 20, 21, 22), reportOf(t, 10, 11), reportOf(t, 9)
	o := hubbench(t, t.Context(), "compare", slow, fast+","+faster)
	row := regexp.MustCompile(`latency p99 +21\.0 ms +10\.0 ms +×0\.48 +B better\n +20\.0…22\.0 +9\.00…11\.0\n`)
	if o.status != exitOK || !row.MatchString(o.stdout) {
		t.Errorf("status %d", o.status)
	}
	text, err := os.ReadFile(fast)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "changed.json")
	if err := os.WriteFile(changed, bytes.Replace(text, []byte(`"settings": null`), []byte(`"settings": {"clients": 7}`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := hubbench(t, t.Context(), "compare", slow, changed); !strings.Contains(o.stdout, "warning: the settings differ: clients none → 7\n") {
		t.Error("no warning of other settings")
	}
	other := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(other, []byte(`{"schema":"else"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := hubbench(t, t.Context(), "compare", slow, other); o.status != exitUsage || !strings.Contains(o.stderr, "schema") {
		t.Errorf("status %d", o.status)
	}
}

func TestFindingsAllHaveACount(t *testing.T) {
	var r Run
	b, err := json.Marshal(r.Counts)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range findings {
		if !strings.Contains(string(b), `"`+name+`"`) {
			t.Errorf("no count %q in %s", name, b)
		}
		if err := json.Unmarshal([]byte(`{"`+name+`":7}`), &r.Counts); err != nil || r.finding(name) != 7 {
			t.Errorf("%s is %d, want 7", name, r.finding(name))
		}
	}
}

func TestTicksKeepTheirDigits(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "0.25": 0.25, "100": 100, "5000": 5000, "10k": 10_000, "12.5k": 12_500, "2M": 2e6} {
		if got := tickLabel(v); got != want {
			t.Errorf("%g is %q, want %q", v, got, want)
		}
	}
}

func TestThePageShowsEverythingAndLoadsNothing(t *testing.T) {
	result := &Result{Scenario: "max", Verdict: "Not held: 1 lost.", Settings: map[string]any{"clients": 3}}
	run := &Run{
		Load: &LoadPart{Latency: Latency{Count: 1, P99: 5}, Curve: []Share{{0, 1}, {50, 2}, {90, 3}, {99, 4}, {99.9, 5}}}, Notes: []string{"<b>mind</b>"},
		Max: &Maximum{Bound: 62, Trials: []Trial{
			{Rate: 100, Kept: true, Load: LoadPart{Latency: Latency{P99: 5}}}, {Rate: 200, Why: "p99 over", Load: LoadPart{Latency: Latency{P99: 500}}},
		}},
		Idle: &Idle{Steps: []Step{{Connections: 77}}},
	}
	for i := range 30 {
		run.Series = append(run.Series, Point{T: float64(i), Open: 5, Delivered: 20_000, Latency: Latency{Count: 1, P50: 1, P99: 2}, RSS: 1 << 24, ServerCPU: 0.5})
	}
	result.Runs = []*Run{run, run}
	result.Summary = summarize(result.Runs)
	report := &Report{Schema: Schema, Started: time.Unix(0, 0), Environment: readEnvironment([]string{"run", "max"}), Results: []*Result{result}}
	var b bytes.Buffer
	if err := report.writeHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"median of 2 runs", "latency p99", "kept up", "p99 over", "77", "&lt;b&gt;mind", "<svg", "server RSS", "<span>run</span> <span>max</span>", "Not held: 1 lost.", "prefers-color-scheme: dark", "bound 62.0 ms", "99.9%"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if got := strings.Count(page, "<svg"); got != 14 {
		t.Errorf("%d charts, want 7 for each of 2 runs", got)
	}
	for _, load := range []string{"<script", "<link", "src=", "@import", "url("} {
		if strings.Contains(page, load) {
			t.Errorf("the page loads something: %s", load)
		}
	}
	if strings.Contains(page, "://") {
		t.Error("the page names an address")
	}
}

func TestWordsAreSplitAsInAShell(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		"  ":                         nil,
		"fanout --clients 5":         {"fanout", "--clients", "5"},
		`a 'b c' "d 'e'" f"g h"i ''`: {"a", "b c", "d 'e'", "fg hi", ""},
	} {
		got, err := splitWords(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	if _, err := splitWords(`a "b`); err == nil {
		t.Error("an open quote was accepted")
	}
}

func FuzzParseScenarios(f *testing.F) {
	f.Add("# nightly\nfanout --clients 5\nrooms --topics='7'\n")
	f.Add("\"")
	f.Add("--x")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseScenarios(text)
		if err != nil {
			return
		}
		for _, words := range all {
			if len(words) == 0 || strings.HasPrefix(words[0], "-") {
				t.Errorf("%q gave %q", text, all)
			}
		}
	})
}

func TestTheWarmUpIsAGap(t *testing.T) {
	run := &Run{}
	for i := range 10 {
		p := Point{T: float64(i)}
		if i >= 4 && i != 7 {
			p.Latency = Latency{Count: 1, P50: 10, P90: 10, P99: 10, Max: 10}
		}
		run.Series = append(run.Series, p)
	}
	drawn := charts(run)
	if len(drawn) != 1 {
		t.Fatalf("%d charts, want that of the latency", len(drawn))
	}
	lines := regexp.MustCompile(`class="line c\d" d="([^"]*)"`).FindAllStringSubmatch(string(drawn[0].SVG), -1)
	for _, l := range lines {
		if strings.Count(l[1], "M") != 2 || strings.Count(l[1], "L") != 3 {
			t.Errorf("want two strokes with 3 and 2 points: %s", l[1])
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestTheCurveGoesAsFarAsItsEvents(t *testing.T) {
	h := fleet.NewHist()
	for ms := range 1000 {
		h.Record(int64(ms+1) * 1e6)
	}
	curve := curveOf(h)
	if last := curve[len(curve)-1]; last.Percent < 99.8 || last.Percent > 99.91 {
		t.Errorf("of 1,000 events it ends at %g%%", last.Percent)
	}
	for _, s := range curve {
		if want := max(1, 10*s.Percent); math.Abs(s.Value-want) > 2 {
			t.Errorf("%g%% at %g ms, want about %g", s.Percent, s.Value, want)
		}
	}
	if got := curveOf(fleet.NewHist()); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, c := range []struct {
		axis axis
		want string
	}{
		{axis{high: 10.5}, "0 2 4 6 8 10"},
		{axis{high: 0.7}, "0 0.2 0.4 0.6"},
		{axis{low: 3.2, high: 33}, "5 10 15 20 25 30"},
		{axis{log: true, low: 30, high: 80}, "30 40 50 60 70 80"},
		{axis{log: true, low: 40, high: 1300}, "50 100 200 500 1000"},
		{axis{log: true, low: 0.5, high: 2e6}, "1 10 100 1000 10k 100k 1M"},
	} {
		var got []string
		for _, m := range c.axis.marks() {
			got = append(got, m.label)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v: %s, want %s", c.axis, s, c.want)
		}
	}
}
