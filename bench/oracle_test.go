package bench

import (
	"strings"
	"testing"
)

// fanoutAt publishes 1,000 events to 20 followers: 20,000 deliveries.
func fanoutAt(t *testing.T, s *faulty, more ...string) outcome {
	t.Helper()
	args := append([]string{"run", "fanout", "--clients=20", "--rate=500", "--duration=2s"}, s.flags()...)
	return hubbench(t, t.Context(), append(args, more...)...)
}

func TestAFaultlessServerIsFoundFaultless(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"plain", "hub.v1"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			o := fanoutAt(t, newFaulty(t, faults{}), "--protocol="+protocol)
			c := o.run(t).Counts
			if o.status != exitOK || c.Delivered != 20_000 {
				t.Errorf("status %d, %d delivered; want 0, 20000", o.status, c.Delivered)
			}
			if n := o.run(t).Load.Latency.Count; n != 20_000 {
				t.Errorf("%d latencies for 20000 deliveries", n)
			}
		})
	}
}

func TestEveryFaultIsCountedAsWhatItIs(t *testing.T) {
	t.Parallel()
	flip := func(event string) []byte { return []byte(strings.Replace(event, `"xx`, `"xy`, 1)) }
	type want struct {
		lost, repeated, reordered, foreign, corrupt, closed uint64
	}
	for name, c := range map[string]struct {
		faults faults
		want   want
	}{
		"drops 1 in 1000":  {faults{dropEvery: 1000}, want{lost: 20}},
		"drops 1 in 100":   {faults{dropEvery: 100}, want{lost: 200}},
		"repeats":          {faults{repeatEvery: 500}, want{repeated: 40}},
		"swaps two":        {faults{swapEvery: 300}, want{reordered: 60}},
		"changes a byte":   {faults{corruptEvery: 400, spoil: flip}, want{lost: 40, corrupt: 40}},
		"invalid UTF-8":    {faults{corruptEvery: 400, spoil: func(e string) []byte { return []byte(e[:60] + "\xff" + e[61:]) }}, want{lost: 40, corrupt: 40}},
		"broken JSON":      {faults{corruptEvery: 400, spoil: func(e string) []byte { return []byte(e[:len(e)-1]) }}, want{lost: 40, corrupt: 40}},
		"another's event":  {faults{corruptEvery: 400, spoil: func(string) []byte { return []byte(`{"price":1}`) }}, want{lost: 40, foreign: 40}},
		"closes some":      {faults{closeEvery: 5}, want{closed: 4}},
		"another's topics": {faults{corruptEvery: 400, spoil: func(e string) []byte { return []byte(strings.Replace(e, "r", "s", 1)) }}, want{lost: 40, foreign: 40}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := fanoutAt(t, newFaulty(t, c.faults))
			n := o.run(t).Counts
			got := want{n.Lost, n.Repeated, n.Reordered, n.Foreign, n.Corrupt, n.Closed}
			if got != c.want {
				t.Errorf("counted %+v, want %+v", got, c.want)
			}
			if o.status != exitFound {
				t.Errorf("status %d, want %d", o.status, exitFound)
			}
		})
	}
}

func TestAnAllowedFindingIsReportedWithStatusZero(t *testing.T) {
	t.Parallel()
	o := fanoutAt(t, newFaulty(t, faults{repeatEvery: 500}), "--allow=repeated")
	if o.status != exitOK || o.run(t).Counts.Repeated != 40 || !strings.Contains(o.stdout, "40 repeated") {
		t.Errorf("status %d, %d repeated", o.status, o.run(t).Counts.Repeated)
	}
}

// A stall of one second in four seconds of 250 events/s delays a quarter of them, by anything between 0 and
// 1 s: so the 99th percentile of all is near 0.96 s. A client that waited for each answer before sending
// the next event would have delayed one event per connection, and shown a p99 without any stall.
func TestAStallOfOneSecondShowsInTheTail(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{stallAt: 300, stall: 1e9})
	l := fanoutAt(t, s, "--rate=250", "--duration=4s").run(t).Load.Latency
	if l.Count != 20_000 {
		t.Errorf("%d latencies for 20000 deliveries", l.Count)
	}
	if l.P99 < 900 || l.P90 < 500 || l.Max < 990 {
		t.Errorf("p90 %.0f, p99 %.0f, max %.0f ms: the stall does not show", l.P90, l.P99, l.Max)
	}
	if l.P50 > 400 {
		t.Errorf("p50 %.0f ms: half of the events were not stalled", l.P50)
	}
}
