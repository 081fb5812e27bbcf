package bench

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestThresholdsAreRead(t *testing.T) {
	for text, want := range map[string]threshold{
		"p99>50ms":                    {figure: "latency p99", op: ">", value: 50},
		" p99.9 >= 1.5s ":             {figure: "latency p99.9", op: ">=", value: 1500},
		"latency-max>100":             {figure: "latency max", op: ">", value: 100},
		"delivered<1.5M":              {figure: "delivered", op: "<", value: 1.5e6},
		"connects<900/s":              {figure: "connects", op: "<", value: 900},
		"RSS per connection>1KiB":     {figure: "RSS per connection", op: ">", value: 1024},
		"rss-drift>10MiB/h":           {figure: "RSS drift", op: ">", value: 10 << 20},
		"idle-cpu>=5%":                {figure: "idle CPU", op: ">=", value: 5},
		"server-cpu-per-connect>30us": {figure: "server CPU per connect", op: ">", value: 30},
		"p99-last-quarter>1s":         {figure: "p99, last quarter", op: ">", value: 1000},
		"lost>0":                      {figure: "lost", op: ">", value: 0},
		"best-rate<=1k":               {figure: "best rate", op: "<=", value: 1000},
	} {
		want.text = text
		if got, err := parseThreshold(text); err != nil || got.figure != want.figure || got.op != want.op || math.Abs(got.value-want.value) > 1e-9 || got.text != text {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "want a figure", "p99": "want a figure", ">5": "want a figure", "p99>": "want a figure", "p99==5": "want a figure", "p99>>5": "want a figure",
		"p98>5": "p99", "latncy-p99>5": "latency-p99", "delivred<5": "delivered", "p99>fast": "no value", "p99>5MiB": "want a value in ms", "lost>1ms": "plain numbers",
		"delivered<5ms": "deliveries/s", "p99>1e999": "no value",
	} {
		if _, err := parseThreshold(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a message with %q", text, err, want)
		}
	}
}

func TestEveryFigureCanBeAThreshold(t *testing.T) {
	seen := map[string]string{}
	for _, f := range everyFigure() {
		s := slug(f.name)
		if other, twice := seen[s]; twice {
			t.Errorf("%q and %q are both %s", f.name, other, s)
		}
		seen[s] = f.name
		if got, err := parseThreshold(s + "<7"); err != nil || got.figure != f.name {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), figureList()) {
		t.Errorf("bench/README.md does not list the figures: %s", figureList())
	}
}

func FuzzParseThreshold(f *testing.F) {
	f.Add("p99>50ms")
	f.Add("rss-drift >= -1.5 KiB/h")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseThreshold(text); err == nil && (got.figure == "" || math.IsNaN(got.value)) {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

func TestAThresholdThatFailsIsTold(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{})
	args := append([]string{"run", "fanout", "--clients=5", "--rate=100", "--duration=1s"}, s.flags()...)
	for text, want := range map[string]struct {
		status int
		stderr string
	}{
		"p99>1h,delivered<1": {exitOK, ""},
		"p50>0":              {exitThreshold, "latency p50 is "},
		"idle-cpu>5":         {exitThreshold, "no scenario measured it"},
	} {
		o := hubbench(t, t.Context(), append(args, "--fail-if", text)...)
		if o.status != want.status || !strings.Contains(o.stderr, want.stderr) {
			t.Errorf("%s: status %d", text, o.status)
		}
		if r := o.report.Results[0]; r.Held == strings.Contains(r.Verdict, "Not held") || r.Held != (text != "p50>0") {
			t.Errorf("%s: held %t, %s", text, r.Held, r.Verdict)
		}
	}
}

// A report's worse figures, by the p99s of its runs.
func TestComparisonsCanFail(t *testing.T) {
	t.Parallel()
	base, slightly, worse, one := reportOf(t, 20, 21, 22), reportOf(t, 20, 21.5, 23), reportOf(t, 30, 31, 32), reportOf(t, 31)
	for line, want := range map[string]int{
		"--fail-if-worse=1% " + base + " " + slightly:                exitOK, // within the spread
		"--fail-if-worse=10% " + base + " " + worse:                  exitThreshold,
		"--fail-if-worse=10 " + base + " " + worse:                   exitThreshold,
		"--fail-if-worse=100% " + base + " " + worse:                 exitOK,
		"--fail-if-worse=10% " + worse + " " + base:                  exitOK,
		"--fail-if-worse=10% " + base + " " + one:                    exitThreshold,
		"--fail-if-worse=10% --only=p99 " + base + " " + worse:       exitThreshold,
		"--fail-if-worse=10% --only=delivered " + base + " " + worse: exitOK,
		"--fail-if-worse=10% --only=idle-cpu " + base + " " + worse:  exitThreshold, // not measured
		"--fail-if-worse=lots " + base + " " + worse:                 exitUsage,
		"--fail-if-worse=10% --only=p98 " + base + " " + worse:       exitUsage,
		"--fail-if-worse=10% --only=offered " + base + " " + worse:   exitUsage,
		"--only=p99 " + base + " " + worse:                           exitUsage,
	} {
		if o := hubbench(t, t.Context(), append([]string{"compare"}, strings.Fields(line)...)...); o.status != want {
			t.Errorf("%s: status %d, want %d", line, o.status, want)
		}
	}
}

func TestDifferentSettingsAreNamed(t *testing.T) {
	a := map[string]any{"common": map[string]any{"url": "ws://x", "repeat": 5.0}, "clients": 1000.0, "load": map[string]any{"rate": 5.0, "duration_ns": 1e10}}
	b := map[string]any{"common": map[string]any{"url": "ws://x", "repeat": 2.0}, "clients": 2e6, "load": map[string]any{"rate": 5.0, "duration_ns": 4e9, "new": true}}
	if got, want := strings.Join(differences(a, b), "; "), "clients 1000 → 2000000; duration 10s → 4s; new none → true"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestReportsAreOpenedBeforeTheRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, flags := range []string{"--html=" + dir + "/no/x.html", "--html=" + dir, "--json=" + dir + "/y --html=" + dir + "/y"} {
		var stderr bytes.Buffer
		args := append([]string{"run", "connect", "--url=ws://" + freeAddr(t) + "/"}, strings.Fields(flags)...)
		if status := Main(t.Context(), args, nil, &stderr, &stderr); status != exitUsage || !strings.Contains(stderr.String(), "html") {
			t.Errorf("%s: status %d, %s", flags, status, &stderr)
		}
	}
	path := filepath.Join(dir, "report.json")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old "), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newFaulty(t, faults{})
	args := append([]string{"run", "connect", "--clients=2", "--json=" + path}, s.flags()[0])
	if status := Main(t.Context(), args, nil, &bytes.Buffer{}, &bytes.Buffer{}); status != exitOK {
		t.Errorf("status %d", status)
	}
	if _, err := readReport(path); err != nil {
		t.Errorf("the report over a longer one: %v", err)
	}
}

func TestARunThatShowsNothingIsNotHeld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults faults
		line   string
	}{
		"max":    {faults{dropEvery: 1}, "max --clients=2 --from=0.2 --trial=500ms --tries=1"},
		"fanout": {faults{dropEvery: 1}, "fanout --clients=2 --rate=20 --duration=500ms --allow=lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFaulty(t, c.faults)
			o := hubbench(t, t.Context(), append(append([]string{"run"}, strings.Fields(c.line)...), s.flags()...)...)
			if r := o.report.Results[0]; o.status != exitFound || r.Held || !strings.HasPrefix(r.Verdict, "Not held: no") {
				t.Errorf("status %d, %s", o.status, r.Verdict)
			}
		})
	}
}
