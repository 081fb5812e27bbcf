package main

import (
	"strconv"
	"strings"
	"testing"

	"wshub/pubsub"
)

// TestADrillSeesWhatGoesWrong: a drill that can't fail proves nothing. A client hears numbers; x is a gap, x3 one
// behind which the topic goes on with event 4, and f is recovered:false.
func TestADrillSeesWhatGoesWrong(t *testing.T) {
	for _, one := range []struct {
		heard                           string
		lost, repeated, reordered, told int
	}{
		{"1 2 3", 0, 0, 0, 0},
		{"2 3", 1, 0, 0, 0},
		{"1 4", 2, 0, 0, 0},
		{"1 1 2", 0, 1, 0, 0},
		{"1 2 3 1", 0, 1, 0, 0},
		{"1 3 2 4", 1, 0, 1, 0},
		{"1 x 4", 0, 0, 0, 2},
		{"1 f 4", 0, 0, 0, 2},
		{"1 x 2 4", 1, 0, 0, 0},
		{"1 x x 4 6", 1, 0, 0, 2},
		{"1 x 4 3", 0, 0, 1, 2},
		{"1 2 x 1", 0, 1, 0, 0},
		{"5 5", 4, 1, 0, 0},
		{"1 7 x 7", 5, 0, 0, 0}, // 7 may have been published twice: its outcome was unsure, and then Redis forgot
		{"1 7 7", 5, 1, 0, 0},
		{"1 x3 4", 0, 0, 0, 2},
		{"1 x3 5", 1, 0, 0, 2},
		{"1 x3 3", 0, 0, 1, 2},
		{"1 x3 x4 5", 0, 0, 0, 3},
		{"1 2 x2 3", 0, 0, 0, 0},
		{"1 2 x2 4", 1, 0, 0, 0},
		{"1 2 3 x2 3", 0, 1, 0, 0},
	} {
		topic := newDrillTopic("drill:0")
		topic.doubt(7)
		d := &drill{t: t, topics: []*drillTopic{topic}, count: newDrillCount()}
		f := newFollower(d, 0, 0, []int{0})
		f.places[0].live = true
		for word := range strings.FieldsSeq(one.heard) {
			h := &heard{Type: "event", Topic: topic.name, Position: "p"}
			at, known := strings.CutPrefix(word, "x")
			switch {
			case known:
				if n, err := strconv.Atoi(at); err == nil {
					topic.note(n, word)
				}
				h.Type, h.Position = "gap", word
			case word == "f":
				h.Type, h.Recovered = "subscribed", new(bool)
			default:
				h.Data.N = numeral(t, word)
			}
			f.hear(h, nil)
		}
		if c := d.count; c.lost != one.lost || c.repeated != one.repeated || c.reordered != one.reordered || c.told != one.told {
			t.Errorf("%q: %d lost, %d repeated, %d reordered, %d told", one.heard, c.lost, c.repeated, c.reordered, c.told)
		}
		topic.acked.Store(9)
		if f.missing()[0] == 0 {
			t.Errorf("%q: nothing is missing up to 9", one.heard)
		}
	}
}

func drillPosition(ms uint64) string {
	return pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: ms, Seq: 1}}.String()
}

func numeral(t *testing.T, word string) int {
	t.Helper()
	n, err := strconv.Atoi(word)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestADrillKnowsWhatAClientWithoutPositionsMisses: c is a new connection.
func TestADrillKnowsWhatAClientWithoutPositionsMisses(t *testing.T) {
	for _, one := range []struct {
		heard                              string
		away, unheard, repeated, reordered int
	}{
		{"c 3 4", 2, 0, 0, 0},
		{"c 3 5", 2, 1, 0, 0},
		{"c 1 c 4 5", 2, 0, 0, 0},
		{"c 3 4 c 3 4 5", 2, 0, 0, 0},
		{"c 3 4 c 3 5", 2, 1, 0, 0},
		{"c 1 1", 0, 0, 1, 0},
		{"c 1 3 2", 0, 1, 0, 1},
	} {
		topic := newDrillTopic("drill:0")
		d := &drill{t: t, topics: []*drillTopic{topic}, count: newDrillCount(), calm: true}
		f := newFollower(d, 0, 0, []int{0})
		f.way = verbatim
		for word := range strings.FieldsSeq(one.heard) {
			if word == "c" {
				f.begins()
				continue
			}
			f.hear(&heard{drillEvent: drillEvent{Of: topic.name, N: numeral(t, word)}}, nil)
		}
		if c := d.count; c.away != one.away || c.unheard != one.unheard || c.repeated != one.repeated || c.reordered != one.reordered || len(d.wrong) > 0 {
			t.Errorf("%q: %d away, %d unheard, %d repeated, %d reordered, %q", one.heard, c.away, c.unheard, c.repeated, c.reordered, d.wrong)
		}
	}
}

// TestADrillSeesAnswersThatMayNotBe: all is well but for one thing at a time.
func TestADrillSeesAnswersThatMayNotBe(t *testing.T) {
	yes := true
	for _, one := range []struct {
		name string
		do   func(d *drill, f *follower)
		bad  bool
	}{
		{"the position that was handed in", func(_ *drill, f *follower) { f.comesTo(f.places[0], &yes, "p1") }, false},
		{"a position ahead", func(_ *drill, f *follower) { f.comesTo(f.places[0], &yes, "p3") }, true},
		{"no position", func(_ *drill, f *follower) { f.comesTo(f.places[0], &yes, "") }, true},
		{"a loss without a position", func(_ *drill, f *follower) { f.comesTo(f.places[0], new(bool), "") }, true},
		{"neither recovered nor lost", func(_ *drill, f *follower) { f.comesTo(f.places[0], nil, "p1") }, true},
		{"one answer", func(_ *drill, f *follower) { f.hear(&heard{ID: new(int)}, nil) }, false},
		{"a second one", func(_ *drill, f *follower) { f.hear(&heard{ID: new(int)}, nil); f.hear(&heard{ID: new(int)}, nil) }, true},
		{"an event at its position", func(d *drill, _ *follower) { d.acknowledged(d.topics[0], 4, drillPosition(4)) }, false},
		{"two at one", func(d *drill, _ *follower) { d.acknowledged(d.topics[0], 4, "p3") }, true},
		{"an event before others", func(d *drill, _ *follower) {
			d.acknowledged(d.topics[0], 4, drillPosition(4))
			d.acknowledged(d.topics[0], 5, drillPosition(2))
		}, true},
	} {
		topic := newDrillTopic("drill:0")
		topic.note(1, "p1")
		topic.note(3, "p3")
		d := &drill{t: t, topics: []*drillTopic{topic}, count: newDrillCount()}
		f := newFollower(d, 0, 0, []int{0})
		f.asked[0] = drillRequest{"a request", func(*heard, []byte) {}}
		f.places[0].last = 1
		if one.do(d, f); (len(d.wrong) > 0) != one.bad {
			t.Errorf("%s: %q", one.name, d.wrong)
		}
	}
}
