package bench

import (
	"testing"

	"wshub/bench/fleet"
)

func TestTheVerdictIsOneSentence(t *testing.T) {
	load := LoadPart{Offered: 10, Wanted: 100, Delivered: 100, Seconds: 1, Latency: Latency{Count: 1, P99: 92}}
	late := load
	late.Delivered = 50
	got := func(n uint64) fleet.Counts { return fleet.Counts{Delivered: n} }
	for want, c := range map[string]struct {
		run        Run
		thresholds []string
		allowed    []string
	}{
		"Held: every one of 500 deliveries came once, in order and whole, p99 at 92.0 ms.":                                           {Run{Load: &load, Counts: got(500)}, []string{"p99>1s"}, nil},
		"Held: every one of 500 deliveries came once, in order and whole, p99 at 92.0 ms, but only 50% of the offered rate in time.": {Run{Load: &late, Counts: got(500)}, nil, nil},
		"Held: p99 at 92.0 ms.":                                                                                         {Run{Load: &load, Counts: fleet.Counts{Delivered: 5, Lost: 2}}, nil, []string{"lost"}},
		"Not held: 2 lost, 3 closed.":                                                                                   {Run{Load: &load, Counts: fleet.Counts{Delivered: 5, Lost: 2, Closed: 3}}, nil, nil},
		"Not held: latency p99 is 92.0 ms (--fail-if 'p99>50ms').":                                                      {Run{Load: &load, Counts: got(5)}, []string{"p99>50ms"}, nil},
		"Not held: nothing was delivered, 7 lost.":                                                                      {Run{Load: &load, Counts: fleet.Counts{Lost: 7}}, nil, nil},
		"Not held: no rate was kept up with (p99 over 62 ms).":                                                          {Run{Max: &Maximum{Trials: []Trial{{Why: "p99 over 62 ms"}}}}, nil, nil},
		"Not measured to the end: redis at h: refused.":                                                                 {Run{Error: "redis at h: refused\nhint: start it"}, nil, nil},
		"Held: 100 events/s, 100 deliveries/s, with p99 at 92.0 ms.":                                                    {Run{Max: &Maximum{Best: &Trial{Rate: 100}}, Load: &load, Counts: got(5)}, nil, nil},
		"Held: 19 connections stayed open, 447 B each.":                                                                 {Run{Idle: &Idle{Steps: []Step{{}, {Connections: 19}}, RSSSlope: 447}, Server: ServerPart{PIDs: []int{7}}}, nil, nil},
		"Held: 19 connections stayed open, all reached by each of 3 events.":                                            {Run{Idle: &Idle{Steps: []Step{{Connections: 19}}, Events: 3}}, nil, nil},
		"Held: all 20 clients came in, 300 a second.":                                                                   {Run{Connect: &Connects{Ready: 20, Rate: 300}}, nil, nil},
		"Held: all clients back after 1.50 s, every one of 5 deliveries came once, in order and whole, p99 at 92.0 ms.": {Run{Storm: &Stormed{Back: 1.5}, Load: &load, Counts: fleet.Counts{Delivered: 5, Closed: 9}}, nil, nil},
	} {
		result := &Result{Runs: []*Run{&c.run}}
		result.Summary = summarize(result.Runs)
		thresholds, err := parseThresholds(c.thresholds)
		if err != nil {
			t.Fatal(err)
		}
		result.checkThresholds(thresholds)
		if result.judge(c.allowed); result.Verdict != want || result.Held != (want[:4] == "Held") {
			t.Errorf("held %t: %s\nwant %s", result.Held, result.Verdict, want)
		}
	}
}
