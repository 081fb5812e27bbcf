package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTheBarMovesAndFits(t *testing.T) {
	const stands = "19000 open, 50.0k/s, p99 12.3 ms, 112 MiB"
	for _, width := range []int{200, 80, 60, 40, 20, 5} {
		var drawn bytes.Buffer
		now := time.Unix(0, 0)
		b := &bar{w: &drawn, width: func() int { return width }, now: func() time.Time { return now }}
		b.span("measure", 30*time.Second)
		b.line(stands)
		for range 30 {
			now = now.Add(time.Second)
			b.tick()
		}
		b.end()
		b.phase("connect", 10_000)
		now = now.Add(time.Second)
		b.set(5000)
		b.end()
		shares := map[string]bool{}
		for line := range strings.SplitSeq(drawn.String(), "\r") {
			text, _, _ := strings.Cut(line, "\x1b[K")
			if n := utf8.RuneCountInString(text); n >= width {
				t.Errorf("%d columns of %d: %q", n, width, text)
			}
			for _, word := range strings.Fields(text) {
				if strings.HasSuffix(word, "%") {
					shares[word] = true
				}
			}
		}
		if width >= 20 && (len(shares) < 20 || !shares["100%"] || !shares["50%"]) {
			t.Errorf("%d columns: shares %v", width, shares)
		}
		if whole := strings.Contains(drawn.String(), stands); whole != (width >= 80) {
			t.Errorf("%d columns: how things stand is whole: %t", width, whole)
		}
	}
}

func TestTextForPeopleFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("the server closed the connection, ", 9)
	run := &Run{
		Load: &LoadPart{Offered: 1e6, Wanted: 1e6, Delivered: 1e6, Latency: Latency{Count: 1, P99: 5}}, Notes: []string{long}, Error: long,
		Max:     &Maximum{Trials: []Trial{{Rate: 123456, Load: LoadPart{Delivered: 12345678, ServerCPU: 11.1, Latency: Latency{P50: 123.4, P99: 1234.5}}, Why: long}}},
		Idle:    &Idle{Steps: []Step{{Connections: 100_000, RSS: 1 << 33, PSS: 1 << 33, Kernel: kernelUse{Buffers: 1 << 33, Slab: 1 << 33}}}, Watched: 1, RSSSlope: 12345},
		Connect: &Connects{Rate: 30_000, Handshake: Latency{Count: 1, P50: 100}}, Churn: &Churned{RSSGrowth: 1234567}, Storm: &Stormed{Missed: 123456},
		Server: ServerPart{PIDs: []int{1}, RSSPeak: 1 << 30}, Client: ClientPart{Machine: 1, Other: 1.23},
	}
	result := &Result{Scenario: "fanout", Verdict: long, Runs: []*Run{run, run}, Settings: map[string]any{"server": "./hub " + long}}
	result.Summary = summarize(result.Runs)
	other := *result
	other.Settings = map[string]any{"server": long, "clients": 5.0}
	a, b := newReport(nil), newReport(nil)
	a.Results, b.Results = []*Result{result}, []*Result{&other}
	b.Environment.Kernel = long
	var out bytes.Buffer
	if err := writeTable(&out, result); err != nil {
		t.Fatal(err)
	}
	if err := compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
