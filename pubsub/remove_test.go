package pubsub

import (
	"errors"
	"testing"

	"wshub/pubsub/redistest"
)

// A node that did not ask for it forgets the events that it has in memory, too.
func TestEveryNodeForgetsARemovedHistory(t *testing.T) {
	server := redistest.Start(t)
	config := RedisConfig{URL: server.URL(), History: contractHistory}
	asked, other := newRedis(t, config), newRedis(t, config)
	start(t, asked)
	sink := start(t, other)
	eventually(t, "both are ready", func() bool { return asked.Ready() == nil && other.Ready() == nil })
	mustFollow(t, other, "h:news", 0)
	at := number(t, asked, "h:news", 1, 3)
	for range at {
		sink.event(t, "h:news")
	}
	wantReplay(t, "before", replay(t, other, "h:news", at[1], 10), at[3], true, 2, 3)
	if err := asked.RemoveHistory(t.Context(), "h:news"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other has forgotten", func() bool { return len(replay(t, other, "h:news", at[1], 10).Events) == 0 })
	next := number(t, asked, "h:news", 4, 5)
	for range next {
		sink.event(t, "h:news")
	}
	wantReplay(t, "what came since, from memory", replay(t, other, "h:news", at[3], 10), next[5], true, 4, 5)
}

// A page that was read before the history was removed, and comes to be kept behind that, is not.
func TestAReadingFromBeforeTheRemovalIsNotKept(t *testing.T) {
	r, c := recents{limit: 1 << 20}, &chain{}
	var events []*Event
	for i := range uint64(6) {
		ev := &Event{Position: Position{7, ID{1000 + i, 1}}, Number: i + 1}
		if i > 0 {
			ev.Before = ID{999 + i, 1}
		}
		events = append(events, ev)
	}
	c.last, c.number = events[5].Position, 6
	r.remove(c, events[3].Position.ID)
	r.recall(c, events)
	if kept := c.recent.behind(ID{}); len(kept) != 2 || kept[0] != events[4] {
		t.Errorf("%d events are kept", len(kept))
	}
	r.drop(c)
	r.push(c, events[3])
	if c.recent != nil {
		t.Error("an event that was removed is kept as it arrives")
	}
}

func TestNewsOfARemovalThatIsNoneIsDropped(t *testing.T) {
	server := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: server.URL(), History: contractHistory})
	mustFollow(t, r, "h:news", 0)
	for _, text := range []string{"\x03", "\x03x", "\x030123456789abcdefx"} {
		server.CLI("publish", "hub:t:h:news", text)
	}
	eventually(t, "they are dropped", func() bool { return r.Stats().Drops[BadJSON.String()] == 3 })
	server.CLI("publish", "hub:t:h:news", "\x030123456789abcdef")
}

func TestAHistoryThatCannotBeRemovedIsAnError(t *testing.T) {
	server := redistest.Start(t)
	r := newRedis(t, RedisConfig{URL: server.URL(), History: contractHistory})
	mustPublish(t, r, "h:news", "1")
	server.CLI("acl", "setuser", "default", "-xtrim")
	if err := r.RemoveHistory(t.Context(), "h:news"); !errors.Is(err, ErrRefused) {
		t.Errorf("without the right: %v", err)
	}
	server.CLI("acl", "setuser", "default", "+xtrim")
	server.Kill()
	if err := r.RemoveHistory(t.Context(), "h:news"); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("without a server: %v", err)
	}
}
