package session

import (
	"slices"
	"testing"

	"wshub/pubsub"
)

func at(n uint64) pubsub.Position {
	return pubsub.Position{Epoch: 7, ID: pubsub.ID{Ms: n, Seq: 1}}
}

func event(n uint64) *message {
	return eventBehind(n, n-1)
}

// eventBehind is event n whose link leads to event before.
func eventBehind(n, before uint64) *message {
	ev := &pubsub.Event{Topic: "t", Position: at(n)}
	if before > 0 {
		ev.Before = at(before).ID
	}
	return &message{topic: "t", position: at(n), event: ev}
}

// FuzzSplice: events 1…n are published in order. Some are in the replay; the live ones arrive as batches
// that begin anywhere before the replay's end. In any interleaving, each event after since comes
// once, in order.
func FuzzSplice(f *testing.F) {
	f.Add(uint8(10), uint8(4), uint8(2), []byte{1, 2})
	f.Add(uint8(0), uint8(0), uint8(0), []byte{})
	f.Add(uint8(9), uint8(9), uint8(9), []byte{9})
	f.Fuzz(func(t *testing.T, published, head, liveFrom uint8, cuts []byte) {
		n, h, first := uint64(published), uint64(head), uint64(liveFrom)
		if h > n || first > h+1 {
			t.Skip() // the loop follows before the history is read, so live begins at the latest behind it
		}
		var seen []uint64
		for i := uint64(1); i <= h; i++ {
			seen = append(seen, i) // the replay
		}
		top, sub := topic{}, &subscribing{cursor: at(h)}
		for i := max(first, 1); i <= n; {
			size := uint64(1)
			if len(cuts) > 0 {
				size, cuts = uint64(cuts[0])%8+1, cuts[1:]
			}
			var batch []*message
			for ; i <= n && size > 0; size-- {
				batch = append(batch, event(i))
				if size%3 == 0 {
					batch = append(batch, event(i)) // a repetition, as after a resync
				}
				i++
			}
			for _, m := range sub.trail(top.fresh(batch)) {
				seen = append(seen, m.position.ID.Ms)
			}
		}
		if uint64(len(seen)) != n {
			t.Fatalf("got %v, want 1 to %d", seen, n)
		}
		for i, got := range seen {
			if got != uint64(i)+1 {
				t.Fatalf("got %v, want 1 to %d", seen, n)
			}
		}
	})
}

func TestSplicePassesWhatHasNoPosition(t *testing.T) {
	raw := &message{topic: "t", event: &pubsub.Event{Topic: "t"}}
	other := &message{topic: "t", position: pubsub.Position{Epoch: 8, ID: pubsub.ID{Ms: 1, Seq: 1}}}
	if got := splice([]*message{raw, event(3), other}, at(5), 0); len(got) != 2 || got[0] != raw || got[1] != other {
		t.Errorf("got %v", got)
	}
}

// A gap behind events does not make them old: what came before it has to go out, and the gap too.
func TestAGapBehindAReplayIsToldInItsPlace(t *testing.T) {
	const asOf = 20
	gap := func(n, read uint64) *message {
		return &message{topic: "t", position: at(n), loss: &pubsub.Loss{At: at(n), Read: read}}
	}
	before := func(n uint64) *message { // as the newest reading shows it
		return &message{topic: "t", position: at(n - 1), loss: &pubsub.Loss{At: at(n - 1), Read: 21, Next: at(n).ID}}
	}
	raw := &message{topic: "t", event: &pubsub.Event{Topic: "t"}}
	none := &message{topic: "t"} // of a topic without history
	same := func(a, b *message) bool { return a.position == b.position && (a.event == nil) == (b.event == nil) }
	for _, c := range []struct {
		batch, want []*message
		head        uint64
	}{
		{[]*message{event(4), event(5), event(6), event(7), gap(7, 21)}, []*message{event(6), event(7), gap(7, 21)}, 7},
		{[]*message{event(4), gap(8, 21), event(9)}, []*message{gap(8, 21), event(9)}, 9},
		{[]*message{gap(3, 21), event(4), event(5)}, []*message{gap(3, 21), event(4), event(5)}, 5}, // the log lost its end
		{[]*message{gap(3, 19), event(4), event(5), event(6)}, []*message{event(6)}, 6},             // before it was replayed
		{[]*message{before(5), event(5), event(6)}, []*message{event(6)}, 6},                        // the log has what was replayed, or more
		{[]*message{before(4), event(4), event(5), event(6)}, []*message{event(6)}, 6},
		{[]*message{before(6), event(6)}, []*message{event(6)}, 6},
		{[]*message{before(7), event(7)}, []*message{gap(6, 21), event(7)}, 7},
		{[]*message{event(6), gap(5, 21), eventBehind(60, 5)}, []*message{event(6), gap(5, 21), eventBehind(60, 5)}, 60}, // it was live, and is lost
		{[]*message{event(4), gap(3, 0), event(6)}, []*message{gap(5, 0), event(6)}, 6},                                  // what no log has was lost
		{[]*message{event(6), gap(6, 0), event(7)}, []*message{event(6), gap(6, 0), event(7)}, 7},
		{[]*message{event(5), raw, event(6)}, []*message{raw, event(6)}, 6},
		{[]*message{event(4), none, event(6)}, []*message{none, event(6)}, 6},
		{[]*message{event(4), event(5)}, nil, 5},
	} {
		sub := &subscribing{cursor: at(5), asOf: asOf}
		got := sub.trail(c.batch)
		if !slices.EqualFunc(got, c.want, same) || sub.cursor != at(c.head) {
			t.Errorf("got %d messages up to %v, want %d up to %d", len(got), sub.cursor, len(c.want), c.head)
		}
	}
}

// TestALossThatAReadingUnderWayHasShownIsTold: a reading began before the replay's, which ended first. What it shows has the smaller
// number, and the replay need not know of it.
func TestALossThatAReadingUnderWayHasShownIsTold(t *testing.T) {
	const asOf = 20
	of := func(epoch, n, before uint64) *message {
		m := eventBehind(n, before)
		m.position.Epoch, m.event.Position.Epoch = epoch, epoch
		return m
	}
	gap := func(epoch, n, next uint64) *message {
		loss := pubsub.Loss{At: pubsub.Position{Epoch: epoch, ID: at(n).ID}, Read: asOf - 1}
		if next > 0 {
			loss.Next = at(next).ID
		}
		return &message{topic: "t", position: loss.At, loss: &loss}
	}
	inNoLog := func(n uint64) *message { return &message{topic: "t", position: at(n), loss: &pubsub.Loss{At: at(n)}} }
	for _, c := range []struct {
		name  string
		batch []*message
		want  []pubsub.Position
	}{
		{"events were trimmed", []*message{event(5), gap(7, 8, 9), event(9), event(10)}, []pubsub.Position{at(8), at(9), at(10)}},
		{"nobody has told of it", []*message{eventBehind(60, 6)}, []pubsub.Position{at(6), at(60)}},
		{"the log lost its end", []*message{gap(7, 3, 0), eventBehind(60, 3)}, []pubsub.Position{at(3), at(60)}},
		{"the log began anew", []*message{gap(8, 1, 0), of(8, 2, 1), of(8, 3, 2)}, []pubsub.Position{{Epoch: 8, ID: at(1).ID}, {Epoch: 8, ID: at(2).ID}, {Epoch: 8, ID: at(3).ID}}},
		{"the log began anew and is empty", []*message{gap(8, 1, 0)}, []pubsub.Position{{Epoch: 8, ID: at(1).ID}}},
		{"the replay knows of it", []*message{gap(7, 3, 5), eventBehind(5, 3), event(6)}, []pubsub.Position{at(6)}},
		{"the next event comes later", []*message{gap(7, 8, 9)}, []pubsub.Position{at(8)}},
		{"no event has come since", []*message{gap(7, 8, 0)}, []pubsub.Position{at(8)}},
		{"the replay knows of it, and of another one no log does", []*message{inNoLog(3), gap(7, 4, 5), event(5), event(6)}, []pubsub.Position{at(5), at(6)}},
		{"no log has what was lost ahead", []*message{inNoLog(8), event(9)}, []pubsub.Position{at(8), at(9)}},
	} {
		var got []pubsub.Position
		for _, m := range (&subscribing{cursor: at(5), asOf: asOf}).trail(c.batch) {
			got = append(got, m.position)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestALossInNoLogIsToldBehindAReplay: events without a position were lost with a connection of the broker's. The replay, which
// goes further than the loop, has none of them. A page that the loop could not read again is of no concern.
func TestALossInNoLogIsToldBehindAReplay(t *testing.T) {
	inNoLog := &message{topic: "t", position: at(3), loss: &pubsub.Loss{At: at(3)}}
	ours := &message{topic: "t", position: at(3)}
	got := splice([]*message{event(2), event(3), inNoLog, ours, event(4), event(6)}, at(5), 0)
	if len(got) != 2 || !got[0].isLoss() || got[0].position != at(5) || got[1].position != at(6) {
		t.Errorf("%d messages", len(got))
	}
}

// The log began anew while its topic was being replayed: what was held of the old one does not come behind what is new.
func TestSpliceDropsWhatIsOfALogBeforeTheReplays(t *testing.T) {
	old := func(n uint64) *message {
		return &message{topic: "t", event: &pubsub.Event{Topic: "t"}, position: pubsub.Position{Epoch: 6, ID: pubsub.ID{Ms: n, Seq: 1}}}
	}
	raw := &message{topic: "t", event: &pubsub.Event{Topic: "t"}}
	gap := &message{topic: "t", position: at(4)}
	live := []*message{old(90), raw, old(91), gap, event(5), event(6)}
	if got := splice(live, at(5), 0); len(got) != 2 || got[0] != raw || got[1] != live[5] {
		t.Errorf("%d messages", len(got))
	}
	newer := []*message{event(5), event(6), old(1)}
	if got := splice(newer, at(5), 0); len(got) != 3 || got[0] != newer[1] || !got[1].isLoss() || got[2] != newer[2] {
		t.Errorf("%d messages", len(got))
	}
	unknown := []*message{event(1), raw, event(2)}
	if got := splice(unknown, pubsub.Position{}, 0); len(got) != 3 {
		t.Errorf("%d messages", len(got))
	}
}
