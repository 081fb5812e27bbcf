package bench

import (
	"strings"
	"testing"

	"wshub/pubsub/redistest/drills"
)

// followers is how many listen in each of these tests.
const followers = 5

// fanoutAt lets the first of the followers publish, for about 1,000 events.
func fanoutAt(t *testing.T, s *faulty, more ...string) outcome {
	t.Helper()
	args := append([]string{"run", "fanout", "--clients=5", "--rate=500", "--duration=2s"}, s.flags()...)
	return hubbench(t, t.Context(), append(append(args, "--publish=ws"), more...)...)
}

func TestAFaultlessServerIsFoundFaultless(t *testing.T) {
	t.Parallel()
	for _, flags := range drills.Sample(t, 2,
		"--protocol=plain --publish=ws", "--protocol=hub.v1 --publish=ws",
		"--protocol=plain --publish=http --rate=50", "--protocol=hub.v1 --publish=http --rate=50",
	) {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			o := fanoutAt(t, newFaulty(t, faults{}), strings.Fields(flags)...)
			want := followers * o.run(t).Counts.Sent
			if strings.Contains(flags, "http") {
				want = followers * 50 * 2
			}
			if c := o.run(t).Counts; o.status != exitOK || c.Delivered != want || want == 0 {
				t.Errorf("status %d, %d delivered; want 0, %d", o.status, c.Delivered, want)
			}
			if n := o.run(t).Load.Latency.Count; n != int64(want) {
				t.Errorf("%d latencies for %d deliveries", n, want)
			}
		})
	}
}

func TestEveryFaultIsCountedAsWhatItIs(t *testing.T) {
	t.Parallel()
	flip := func(event string) []byte { return []byte(strings.Replace(event, `"pad`, `"pae`, 1)) }
	type want struct {
		lost, repeated, reordered, foreign, corrupt, closed uint64
	}
	// n of one follower's events met the fault.
	type fault struct {
		name   string
		every  int
		faults faults
		want   func(n uint64) want
	}
	for _, c := range drills.Sample(t, 3,
		fault{"drops 1 in 1000", 1000, faults{dropEvery: 1000}, func(n uint64) want { return want{lost: n} }},
		fault{"drops 1 in 50", 50, faults{dropEvery: 50}, func(n uint64) want { return want{lost: n} }},
		fault{"repeats", 50, faults{repeatEvery: 50}, func(n uint64) want { return want{repeated: n} }},
		fault{"swaps two", 50, faults{swapEvery: 50}, func(n uint64) want { return want{reordered: n} }},
		fault{"changes a byte", 50, faults{corruptEvery: 50, spoil: flip}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		fault{"invalid UTF-8", 50, faults{corruptEvery: 50, spoil: func(e string) []byte { return []byte(e[:60] + "\xff" + e[61:]) }}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		fault{"broken JSON", 50, faults{corruptEvery: 50, spoil: func(e string) []byte { return []byte(e[:len(e)-1]) }}, func(n uint64) want { return want{lost: n, corrupt: n} }},
		fault{"another's event", 50, faults{corruptEvery: 50, spoil: func(string) []byte { return []byte(`{"price":1}`) }}, func(n uint64) want { return want{lost: n, foreign: n} }},
		fault{"another's topics", 50, faults{corruptEvery: 50, spoil: func(e string) []byte { return []byte(strings.Replace(e, "r", "s", 1)) }}, func(n uint64) want { return want{lost: n, foreign: n} }},
	) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rate := "--rate=250"
			if c.every == 1000 {
				rate = "--rate=750"
			}
			o := fanoutAt(t, newFaulty(t, c.faults), rate)
			n := o.run(t).Counts
			met := n.Sent / uint64(c.every) * followers
			expected := c.want(met)
			if c.name == "swaps two" && n.Sent%50 == 0 { // the last one waits for one that never comes
				expected.reordered -= followers
				expected.lost += followers
			}
			got := want{n.Lost, n.Repeated, n.Reordered, n.Foreign, n.Corrupt, n.Closed}
			if got != expected || met == 0 {
				t.Errorf("counted %+v, want %+v", got, expected)
			}
			if o.status != exitFound {
				t.Errorf("status %d, want %d", o.status, exitFound)
			}
		})
	}
}

func TestClosedConnectionsAreFound(t *testing.T) {
	t.Parallel()
	o := fanoutAt(t, newFaulty(t, faults{closeEvery: 2}), "--publish=http", "--rate=50")
	if c := o.run(t).Counts; o.status != exitFound || c.Closed != 2 || c.Lost != 0 || c.Closes["1001"] != 2 {
		t.Errorf("status %d, %+v", o.status, c)
	}
}

func TestAnAllowedFindingIsReportedWithStatusZero(t *testing.T) {
	t.Parallel()
	o := fanoutAt(t, newFaulty(t, faults{repeatEvery: 50}), "--allow=repeated", "--rate=250")
	if o.status != exitOK || o.run(t).Counts.Repeated == 0 || !strings.Contains(o.stdout, " repeated") {
		t.Errorf("status %d, %d repeated", o.status, o.run(t).Counts.Repeated)
	}
}

// A stall of one second in four seconds of 100 events/s delays a quarter of them, by anything between 0 and
// 1 s: so the 99th percentile of all is near 0.96 s. A client that waited for each answer before sending
// the next event would have delayed one event per connection, and shown a p99 without any stall.
func TestAStallOfOneSecondShowsInTheTail(t *testing.T) {
	t.Parallel()
	s := newFaulty(t, faults{stallAt: 120, stall: 1e9})
	run := fanoutAt(t, s, "--rate=100", "--duration=4s").run(t)
	l := run.Load.Latency
	if want := int64(followers * run.Counts.Sent); l.Count != want {
		t.Errorf("%d latencies for %d deliveries", l.Count, want)
	}
	if l.P99 < 900 || l.P90 < 500 || l.Max < 980 {
		t.Errorf("p90 %.0f, p99 %.0f, max %.0f ms: the stall does not show", l.P90, l.P99, l.Max)
	}
	if l.P50 > 400 {
		t.Errorf("p50 %.0f ms: half of the events were not stalled", l.P50)
	}
}
