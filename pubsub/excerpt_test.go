package pubsub

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// chained makes events with the given IDs, each linked to the one before it, the first to before, and
// numbered from number on.
func chained(before ID, number uint64, ids ...ID) []*Event {
	var list []*Event
	for _, id := range ids {
		list = append(list, &Event{Position: Position{7, id}, Before: before, Number: number})
		before = id
		number++
	}
	return list
}

func TestRecoveredIsOnlySaidWhereItIsProven(t *testing.T) {
	one, two, three, four := ID{100, 1}, ID{100, 2}, ID{200, 1}, ID{300, 1}
	all := chained(ID{}, 1, one, two, three, four)[:3]
	number := map[ID]uint64{{}: 0, three: 3, four: 4, {400, 1}: 4}
	hour := uint64(time.Hour.Milliseconds())
	late := ID{60 + hour, 1}
	number[late] = 1
	for _, c := range []struct {
		name   string
		since  Position
		last   ID
		events []*Event
		newest ID // zero: of events
		now    uint64
		missed int // -1: not recovered
	}{
		{"everything after an event", Position{7, one}, three, all[1:], ID{}, 300, 2},
		{"the last event", Position{7, three}, three, nil, ID{}, 300, 0},
		{"an event that was trimmed, but none behind it", Position{7, two}, three, all[2:], ID{}, 300, 1},
		{"an event that was trimmed, and some behind it", Position{7, one}, three, all[2:], ID{}, 300, -1},
		{"all of it trimmed", Position{7, one}, three, nil, ID{}, 300, -1},
		{"the end trimmed", Position{7, one}, three, all[1:2], ID{}, 300, -1},
		{"a page", Position{7, one}, three, all[1:2], three, 300, 2},
		{"a page that is not the first", Position{7, one}, four, all[2:], four, 400, -1},
		{"a page of a log without its end", Position{7, one}, four, all[1:2], three, 400, -1},
		{"a page, and a stranger's entry", Position{7, one}, three, all[1:2], four, 400, 2},
		{"a record that is behind its log", Position{7, one}, two, all[1:], ID{}, 300, -1},
		{"a hole in the middle", Position{7, one}, four, append(chained(one, 2, two), chained(three, 4, four)...), ID{}, 400, -1},
		{"another epoch", Position{8, one}, three, all[1:], ID{}, 300, -1},
		{"another epoch's last", Position{8, three}, three, nil, ID{}, 300, -1},
		{"a rewound log", Position{7, four}, three, nil, ID{}, 300, -1},
		{"a rewound log that went on", Position{7, four}, ID{400, 1}, chained(three, 4, ID{400, 1}), ID{}, 500, -1},
		{"an event, but the record is gone", Position{7, one}, ID{}, nil, ID{}, 300, -1},
		{"the start", Start, three, all, ID{}, 300, 3},
		{"the start, a page", Start, three, all[:2], three, 300, 3},
		{"the start of nothing", Start, ID{}, nil, ID{}, 300, 0},
		{"a start that was trimmed", Start, three, all[1:], ID{}, 300, -1},
		{"a start of which nothing is left", Start, three, nil, ID{}, 300, -1},
		{"an empty log's place", Position{7, ID{50, 0}}, three, all, ID{}, 300, 3},
		{"an empty log's place, and still empty", Position{7, ID{50, 0}}, ID{}, nil, ID{}, 300, 0},
		{"a later place, with the events before it", Position{7, ID{150, 0}}, three, all[2:], ID{}, 300, 1},
		{"a later place, nothing after it", Position{7, ID{250, 0}}, three, nil, ID{}, 300, 0},
		{"an empty log's place, the first trimmed", Position{7, ID{50, 0}}, three, all[1:], ID{}, 300, -1},
		{"an empty log's place, all trimmed", Position{7, ID{50, 0}}, three, nil, ID{}, 300, -1},
		{"an empty log's place, before any record's life", Position{7, ID{50, 0}}, ID{}, nil, ID{}, 50 + hour, -1},
		{"an old place with events", Position{7, ID{50, 0}}, late, chained(ID{}, 1, late), ID{}, 70 + hour, -1},
		{"a place that the clock has not reached, and still empty", Position{7, ID{350, 0}}, ID{}, nil, ID{}, 300, -1},
		{"a place that the clock has not reached, and events before it", Position{7, ID{350, 0}}, three, nil, ID{}, 300, -1},
		{"a place that the clock has not reached, and events around it", Position{7, ID{250, 0}}, four, all[3:4], ID{}, 240, -1},
		{"a place in another epoch", Position{8, ID{50, 0}}, ID{}, nil, ID{}, 300, -1},
	} {
		x := excerpt{epoch: 7, last: c.last, number: number[c.last], now: c.now, life: time.Hour, events: slices.Clone(c.events), newest: c.newest}
		if n := len(c.events); n > 0 && x.newest.IsZero() {
			x.newest = c.events[n-1].Position.ID
		}
		got := x.replay(c.since, Limit{Events: 100})
		if got.Recovered != (c.missed >= 0) || got.Missed != max(0, c.missed) {
			t.Errorf("%s: recovered is %t, %d missed", c.name, got.Recovered, got.Missed)
		}
	}
}

func TestAReplayHasAHeadAndALimit(t *testing.T) {
	all := chained(ID{}, 1, ID{100, 1}, ID{100, 2}, ID{200, 1})
	x := excerpt{epoch: 7, last: ID{200, 1}, number: 3, now: 300, life: time.Hour, events: all[1:2], newest: ID{200, 1}}
	if r := x.replay(Position{7, ID{100, 1}}, Limit{}); r.Events != nil || !r.Recovered || r.Missed != 2 || r.Head != (Position{7, ID{200, 1}}) {
		t.Errorf("no events wanted: %+v", r)
	}
	empty := excerpt{epoch: 7, now: 300, life: time.Hour}
	if r := empty.replay(Start, Limit{}); r.Head != (Position{7, ID{300, 0}}) || !r.Recovered {
		t.Errorf("empty: %+v", r)
	}
	other := excerpt{epoch: 7, last: ID{200, 1}, number: 3, now: 300, life: time.Hour, events: all, newest: ID{200, 1}}
	if r := other.replay(Position{8, ID{1, 1}}, Limit{Events: 10}); len(r.Events) > 0 || r.Head != (Position{7, ID{200, 1}}) {
		t.Errorf("another epoch: %+v", r)
	}
}

func TestAPageIsTheLongestThatTheLimitLetsIn(t *testing.T) {
	events := []*Event{{Data: make([]byte, 5)}, {Data: make([]byte, 1)}, {Data: make([]byte, 4)}, {}}
	for limit, want := range map[Limit]int{
		{}: 0, {Events: 0, Bytes: 100}: 0, {Events: 1, Bytes: 0}: 1, {Events: 9, Bytes: 0}: 4, {Events: 4, Bytes: 0}: 4, {Events: 9, Bytes: 1}: 1, {Events: 9, Bytes: 5}: 1, {Events: 9, Bytes: 6}: 2, {Events: 9, Bytes: 9}: 2, {Events: 9, Bytes: 10}: 4, {Events: 2, Bytes: 10}: 2,
	} {
		if got := limit.page(events); len(got) != want {
			t.Errorf("%+v: %d events, want %d", limit, len(got), want)
		}
	}
}

// TestRecoveredMeansEverything compares with a log that is never trimmed.
func TestRecoveredMeansEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids []ID
		for ms := range uint64(rapid.IntRange(0, 8).Draw(t, "events")) {
			ids = append(ids, ID{10 * (ms + 1), 1})
		}
		all := chained(ID{}, 1, ids...)
		since := ID{uint64(rapid.IntRange(1, 100).Draw(t, "since")), uint64(rapid.IntRange(0, 1).Draw(t, "seq"))}
		x := excerpt{epoch: 7, now: 100, life: time.Hour}
		var want, kept []*Event
		for _, ev := range all {
			x.last, x.number = ev.Position.ID, ev.Number
			if ev.Position.ID.Compare(since) > 0 {
				want = append(want, ev)
				if rapid.IntRange(0, 4).Draw(t, "kept") > 0 {
					kept, x.newest = append(kept, ev), ev.Position.ID
				}
			}
		}
		known := since.Seq == 0 || slices.Contains(ids, since)
		limit := Limit{Events: rapid.IntRange(0, 8).Draw(t, "limit")}
		x.events = limit.reading(Position{7, since}).page(kept)
		r := x.replay(Position{7, since}, limit)
		switch page := limit.page(want); {
		case r.Recovered && (!slices.Equal(r.Events, page) || r.Missed != len(want)):
			t.Errorf("recovered %d events of %d after %s, %d missed", len(r.Events), len(want), since, r.Missed)
		case !r.Recovered && len(kept) == len(want) && known:
			t.Errorf("all %d events after %s, but not recovered", len(want), since)
		case !r.Recovered && r.Missed != 0:
			t.Errorf("not recovered, but %d missed", r.Missed)
		}
	})
}

func TestEpochsAreNotMixed(t *testing.T) {
	id := ID{100, 1}
	if links(Position{8, id}, &Event{Position: Position{7, ID{200, 1}}, Before: id, Number: 2}) {
		t.Error("an event of another epoch is linked")
	}
	c := chain{last: Position{8, id}}
	if c.adoptHead(&excerpt{epoch: 7, last: id, now: 200, life: time.Hour}) {
		t.Error("the same ID in another epoch is no news")
	}
	if c.judge(&Event{Position: Position{7, id}}, believeAll) != broken {
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
