package session

import (
	"slices"
	"testing"

	"wshub/pubsub"
)

// A client that comes back may read events from the log that the hub has not heard, and then a failover loses them: the topic goes
// on as if they had not been, for all that the hub knows. The next event's link leads past them. Here the log was read up
// to event 5, and a failover has lost 4 and 5.
func TestAnEventThatLeavesOutWhatWasReadComesBehindAGap(t *testing.T) {
	gap := func(n uint64) *message {
		return &message{topic: "t", position: at(n), loss: &pubsub.Loss{At: at(n), Read: 1}}
	}
	next := eventBehind(60, 3)
	for _, c := range []struct {
		name        string
		batch, want []*message
	}{
		{"a failover", []*message{next, event(61)}, []*message{gap(3), next, event(61)}},
		{"a failover amid a batch", []*message{event(5), event(6), eventBehind(60, 3)}, []*message{event(6), gap(3), next}},
		{"the hub tells it", []*message{gap(3), next}, []*message{gap(3), next}},
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
		if got := splice(c.batch, at(5), 0); !same(got) {
			t.Errorf("%s: %d messages come behind a replay", c.name, len(got))
		}
	}
}

// TestWhoTrailsIsToldOfALossThatConcernsIt: on the loop event 60 leaves out 4 and 5, which it has seen. Those who have read the
// log went different ways.
func TestWhoTrailsIsToldOfALossThatConcernsIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		cursor uint64
		want   []uint64 // positions
	}{
		{"it has read what is lost", 5, []uint64{3, 60}},
		{"it has read up to the loss", 3, []uint64{60}},
		{"it has read what follows", 60, nil},
	} {
		top := topic{last: at(5).ID}
		sub := &subscribing{cursor: at(c.cursor), asOf: 7}
		var got []uint64
		for _, m := range sub.trail(top.fresh([]*message{eventBehind(60, 3)})) {
			got = append(got, m.position.ID.Ms)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
