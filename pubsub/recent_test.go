package pubsub

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// kept is how many events c has in memory, and which of them are the recent ones.
func kept(c *chain) (all int, events []*Event) {
	if c.recent == nil {
		return 0, nil
	}
	return len(c.recent.events) + len(c.recent.earlier), c.recent.events
}

func TestRecentEventsAreBoundedInBytesTheOldestOfAllGoFirst(t *testing.T) {
	r := recents{limit: 3 * eventOverhead}
	a, b := &chain{}, &chain{}
	events := make([]*Event, 6)
	for i := range events {
		events[i] = &Event{Position: Position{1, ID{uint64(i + 1), 1}}}
	}
	r.push(a, events[0])
	r.push(b, events[1])
	r.push(a, events[2])
	r.push(a, events[3])
	if n, _ := kept(b); !slices.Equal(a.recent.events, []*Event{events[2], events[3]}) || n != 1 {
		t.Errorf("a has %d, b has %d", len(a.recent.events), n)
	}
	x := a.excerpt(Position{1, ID{2, 1}}, Limit{Events: 10}, time.Hour)
	r.drop(a)
	if !slices.Equal(x.events, events[2:4]) {
		t.Error("what was forgotten is torn from an answer")
	}
	if r.bytes != eventOverhead || a.recent != nil {
		t.Errorf("%d bytes after a drop", r.bytes)
	}
	r.push(a, events[4])
	r.push(b, events[5])
	one, _ := kept(a)
	two, _ := kept(b)
	if r.bytes > r.limit || one+two == 0 {
		t.Errorf("%d bytes of %d", r.bytes, r.limit)
	}
}

// logOf makes events 0 to n, of which 1 to n are a log.
func logOf(n int) []*Event {
	events := make([]*Event, n+1)
	for i := range events {
		events[i] = &Event{Position: Position{1, ID{uint64(i), 1}}, Number: uint64(i)}
		if i > 1 {
			events[i].Before = events[i-1].Position.ID
		}
	}
	return events
}

func TestWhatWasReadIsKeptWithTheRecentEventsIfNothingIsMissingBetween(t *testing.T) {
	events := logOf(6)
	hole := slices.Concat(events[1:3], events[4:6])
	for _, c := range []struct {
		name              string
		room              int
		last              int
		recent, read, now []*Event
		earlier           int
	}{
		{"up to the recent ones", 6, 6, events[5:], events[1:5], events[1:], 0},
		{"and on", 6, 6, events[5:], events[1:], events[1:], 0},
		{"not up to them", 6, 6, events[5:], events[1:4], events[5:], 3},
		{"no recent ones", 6, 6, nil, events[4:], events[4:], 0},
		{"further than the followers are", 6, 4, nil, events[1:], events[1:5], 0},
		{"behind a hole", 6, 6, events[6:], hole, events[4:], 0},
		{"nothing", 6, 6, events[5:], nil, events[5:], 0},
		{"all there", 6, 6, events[1:], events[1:4], events[1:], 0},
		{"no room for all", 4, 6, events[5:], events[1:5], events[3:], 0},
		{"no room", 2, 6, events[5:], events[1:5], events[5:], 0},
		{"no room, not up to them", 4, 6, events[5:], events[1:4], events[5:], 2},
		{"another epoch", 6, 6, nil, []*Event{{Position: Position{2, ID{6, 1}}}}, nil, 0},
	} {
		r, chain := recents{limit: c.room * eventOverhead}, &chain{last: events[c.last].Position}
		for _, ev := range c.recent {
			r.push(chain, ev)
		}
		r.recall(chain, c.read)
		all, now := kept(chain)
		if !slices.Equal(now, c.now) || all != len(c.now)+c.earlier || r.bytes != all*eventOverhead || len(r.order) != all {
			t.Errorf("%s: %d events of %d, %d bytes, %d in order; want %d events", c.name, len(now), all, r.bytes, len(r.order), len(c.now))
		}
	}
}

// TestPagesThatAreReadOneByOneBecomeOneStretch reads a log page by page, as clients do, in any order and from any
// place, while events come and go.
func TestPagesThatAreReadOneByOneBecomeOneStretch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 40
		events := logOf(most)
		last := rapid.IntRange(1, 30).Draw(t, "last")
		r, c := recents{limit: rapid.IntRange(1, 50).Draw(t, "room") * eventOverhead}, &chain{last: events[last].Position, number: uint64(last)}
		at := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				if last == most {
					t.Skip()
				}
				last++
				c.advance(events[last])
				r.push(c, events[last])
			},
			"read on": func(t *rapid.T) {
				page := events[at+1 : min(at+1+rapid.IntRange(1, 5).Draw(t, "page"), last+1)]
				r.recall(c, page)
				if at += len(page); at >= last {
					at = 0
				}
			},
			"another place": func(t *rapid.T) { at = rapid.IntRange(0, last-1).Draw(t, "at") },
			"drop":          func(t *rapid.T) { r.drop(c) },
			"": func(t *rapid.T) {
				n, _ := kept(c)
				if r.kept != n || r.bytes != n*eventOverhead || r.bytes > r.limit || len(r.order) < n || len(r.order) > 2*n+1024 {
					t.Fatalf("%d events, %d counted, %d bytes of %d, %d in order", n, r.kept, r.bytes, r.limit, len(r.order))
				}
				if c.recent == nil {
					return
				}
				if e := c.recent.events; len(e) > 0 && e[len(e)-1] != events[last] {
					t.Fatalf("the recent ones end with %s of %d", e[len(e)-1].Position, last)
				}
				for _, list := range [][]*Event{c.recent.events, c.recent.earlier} {
					for i, ev := range list {
						if i > 0 && ev.Before != list[i-1].Position.ID {
							t.Fatalf("%s comes after %s", ev.Position, list[i-1].Position)
						}
					}
				}
			},
		})
		// Whoever has the room has all of it once it was read from the start.
		r.drop(c)
		if r.limit < last*eventOverhead {
			return
		}
		for at := 0; at < last; at += 3 {
			r.recall(c, events[at+1:min(at+4, last+1)])
			x := c.excerpt(Position{1, events[min(at+1, last)].Position.ID}, Limit{Events: 100, Bytes: 1}, time.Hour)
			if at+1 < last && (len(x.events) == 0 || x.events[0] != events[at+2]) {
				t.Fatalf("a page that was just read is not there: %d events behind %d", len(x.events), at+1)
			}
		}
		if _, now := kept(c); !slices.Equal(now, events[1:last+1]) {
			t.Fatalf("%d of %d events after all was read", len(now), last)
		}
	})
}

func TestTheOrderOfRecentEventsIsBounded(t *testing.T) {
	events := logOf(1)
	r, c := recents{limit: 1 << 20}, &chain{}
	for range 100_000 {
		r.push(c, events[1])
		r.drop(c)
	}
	if len(r.order) > 1100 {
		t.Errorf("%d places for nothing", len(r.order))
	}
}
