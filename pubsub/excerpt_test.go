package pubsub

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// chained makes events with the given IDs, each linked to the one before it, the first to before.
func chained(before ID, ids ...ID) []*Event {
	var list []*Event
	for _, id := range ids {
		list = append(list, &Event{Position: Position{7, id}, Before: before})
		before = id
	}
	return list
}

func TestRecoveredIsOnlySaidWhereItIsProven(t *testing.T) {
	one, two, three := ID{100, 1}, ID{100, 2}, ID{200, 1}
	all := chained(ID{}, one, two, three)
	hour := uint64(time.Hour.Milliseconds())
	for _, c := range []struct {
		name   string
		since  Position
		last   ID
		events []*Event
		now    uint64
		want   bool
	}{
		{"everything after an event", Position{7, one}, three, all[1:], 300, true},
		{"the last event", Position{7, three}, three, nil, 300, true},
		{"an event that was trimmed, but none behind it", Position{7, two}, three, all[2:], 300, true},
		{"an event that was trimmed, and some behind it", Position{7, one}, three, all[2:], 300, false},
		{"all of it trimmed", Position{7, one}, three, nil, 300, false},
		{"the end trimmed", Position{7, one}, three, all[1:2], 300, false},
		{"a hole in the middle", Position{7, one}, ID{300, 1}, append(chained(one, two), chained(three, ID{300, 1})...), 400, false},
		{"another epoch", Position{8, one}, three, all[1:], 300, false},
		{"another epoch's last", Position{8, three}, three, nil, 300, false},
		{"a rewound log", Position{7, ID{300, 1}}, three, nil, 300, false},
		{"a rewound log that went on", Position{7, ID{300, 1}}, ID{400, 1}, chained(three, ID{400, 1}), 500, false},
		{"an event, but the record is gone", Position{7, one}, ID{}, nil, 300, false},
		{"the start", Start, three, all, 300, true},
		{"the start of nothing", Start, ID{}, nil, 300, true},
		{"a start that was trimmed", Start, three, all[1:], 300, false},
		{"a start of which nothing is left", Start, three, nil, 300, false},
		{"an empty log's place", Position{7, ID{50, 0}}, three, all, 300, true},
		{"an empty log's place, and still empty", Position{7, ID{50, 0}}, ID{}, nil, 300, true},
		{"a later place, with the events before it", Position{7, ID{150, 0}}, three, all[2:], 300, true},
		{"a later place, nothing after it", Position{7, ID{250, 0}}, three, nil, 300, true},
		{"an empty log's place, the first trimmed", Position{7, ID{50, 0}}, three, all[1:], 300, false},
		{"an empty log's place, all trimmed", Position{7, ID{50, 0}}, three, nil, 300, false},
		{"an empty log's place, before any record's life", Position{7, ID{50, 0}}, ID{}, nil, 50 + hour, false},
		{"an old place with events", Position{7, ID{50, 0}}, ID{60 + hour, 1}, chained(ID{}, ID{60 + hour, 1}), 70 + hour, false},
		{"a place in another epoch", Position{8, ID{50, 0}}, ID{}, nil, 300, false},
	} {
		x := excerpt{epoch: 7, last: c.last, now: c.now, life: time.Hour, events: slices.Clone(c.events)}
		if got := x.replay(c.since, 100); got.Recovered != c.want {
			t.Errorf("%s: recovered is %t", c.name, got.Recovered)
		}
	}
}

func TestAReplayHasAHeadAndALimit(t *testing.T) {
	all := chained(ID{}, ID{100, 1}, ID{100, 2}, ID{200, 1})
	x := excerpt{epoch: 7, last: ID{200, 1}, now: 300, life: time.Hour, events: all}
	if r := x.replay(Start, 2); len(r.Events) != 2 || r.Recovered || r.Head != (Position{7, ID{200, 1}}) {
		t.Errorf("limited: %+v", r)
	}
	empty := excerpt{epoch: 7, now: 300, life: time.Hour}
	if r := empty.replay(Start, 0); r.Head != (Position{7, ID{300, 0}}) || !r.Recovered {
		t.Errorf("empty: %+v", r)
	}
	other := excerpt{epoch: 7, last: ID{200, 1}, now: 300, life: time.Hour, events: all}
	if r := other.replay(Position{8, ID{1, 1}}, 10); len(r.Events) > 0 || r.Head != (Position{7, ID{200, 1}}) {
		t.Errorf("another epoch: %+v", r)
	}
}

// TestRecoveredMeansEverything compares with a log that is never trimmed.
func TestRecoveredMeansEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids []ID
		for ms := range uint64(rapid.IntRange(0, 8).Draw(t, "events")) {
			ids = append(ids, ID{10 * (ms + 1), 1})
		}
		all := chained(ID{}, ids...)
		since := ID{uint64(rapid.IntRange(1, 100).Draw(t, "since")), uint64(rapid.IntRange(0, 1).Draw(t, "seq"))}
		x := excerpt{epoch: 7, now: 100, life: time.Hour}
		var want []*Event
		for _, ev := range all {
			x.last = ev.Position.ID
			if ev.Position.ID.Compare(since) > 0 {
				want = append(want, ev)
				if rapid.IntRange(0, 4).Draw(t, "kept") > 0 {
					x.events = append(x.events, ev)
				}
			}
		}
		known := since.Seq == 0 || slices.Contains(ids, since)
		r := x.replay(Position{7, since}, rapid.IntRange(0, 8).Draw(t, "limit"))
		if same := slices.Equal(r.Events, want); r.Recovered && !same {
			t.Errorf("recovered %d events of %d after %s", len(r.Events), len(want), since)
		} else if !r.Recovered && same && known {
			t.Errorf("all %d events after %s, but not recovered", len(want), since)
		}
	})
}

func TestEpochsAreNotMixed(t *testing.T) {
	id := ID{100, 1}
	if links(Position{8, id}, &Event{Position: Position{7, ID{200, 1}}, Before: id}) {
		t.Error("an event of another epoch is linked")
	}
	c := chain{last: Position{8, id}}
	if c.settled(&excerpt{epoch: 7, last: id, now: 200, life: time.Hour}) {
		t.Error("the same ID in another epoch is no news")
	}
	if c.judge(&Event{Position: Position{7, id}}) != broken {
		t.Error("the same ID in another epoch is a repetition")
	}
}

func TestHistoryIsOfTheFirstRuleThatFits(t *testing.T) {
	h := History{{Prefix: "news:secret", Count: 0}, {Prefix: "news:", Count: 10, Age: time.Second}, {Prefix: "", Count: 1}}
	for topic, want := range map[string]int{"news:secret": 0, "news:a": 10, "sport": 1} {
		if rule, keeps := h.For(topic); rule.Count != want || keeps != (want > 0) {
			t.Errorf("%s: %+v, %t", topic, rule, keeps)
		}
	}
	if rule, _ := h.For("sport"); rule.Age != DefaultHistoryAge {
		t.Errorf("the default age is %s", rule.Age)
	}
	if _, keeps := (History)(nil).For("news"); keeps {
		t.Error("no rules keep something")
	}
}
