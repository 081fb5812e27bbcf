package session

import (
	"slices"
	"testing"
)

// A client that comes back may read events from the log that the hub has not heard, and then a failover loses them: the topic goes
// on as if they had not been, for all that the hub knows. The next event's link leads past them. Here the log was read up
// to event 5, and a failover has lost 4 and 5.
func TestAnEventThatLeavesOutWhatWasReadComesBehindAGap(t *testing.T) {
	gap := func(n uint64) *message { return &message{topic: "t", position: at(n)} }
	next := eventBehind(60, 3)
	for _, c := range []struct {
		name        string
		batch, want []*message
	}{
		{"a failover", []*message{next, event(61)}, []*message{gap(3), next, event(61)}},
		{"a failover amid a batch", []*message{event(5), event(6), eventBehind(60, 3)}, []*message{event(6), gap(3), next}},
		{"the hub tells it", []*message{gap(3), next}, []*message{gap(3), next}},
		{"the hub has heard more than was read", []*message{eventBehind(60, 6)}, []*message{next}},
		{"a log that began anew", []*message{eventBehind(60, 0)}, []*message{next}},
	} {
		same := func(got []*message) bool {
			return slices.EqualFunc(got, c.want, func(a, b *message) bool { return a.position == b.position && (a.event == nil) == (b.event == nil) })
		}
		top := topic{last: at(5).ID}
		if got := top.fresh(slices.Clone(c.batch)); !same(got) || top.last != c.want[len(c.want)-1].position.ID {
			t.Errorf("%s: followers get %d messages up to %s", c.name, len(got), top.last)
		}
		trailing := &subscribing{cursor: at(5)}
		if got := trailing.trail(c.batch); !same(got) {
			t.Errorf("%s: one who trails gets %d messages", c.name, len(got))
		}
		if got := splice(c.batch, at(5)); !same(got) {
			t.Errorf("%s: %d messages come behind a replay", c.name, len(got))
		}
	}
}
