package pubsub

import (
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// forge publishes an envelope that looks as if it were the event behind at, of a time that much later.
func forge(t *testing.T, r *Redis, topic string, at Position, number uint64, later time.Duration) {
	t.Helper()
	ev := Event{Position: at, Before: at.ID, Number: number, Data: []byte(`"forged"`)}
	ev.Position.ID.Ms += uint64(later.Milliseconds())
	if err := r.only().pub.Publish(t.Context(), topicChannel(topic), appendEnvelope(nil, &ev)).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestAForgedEventFarAheadIsNotBelieved(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	one := mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	for _, later := range []time.Duration{10 * time.Minute, 365 * 24 * time.Hour, 1<<63 - 1} {
		forge(t, r, "h:a", one, 2, later)
	}
	eventually(t, "all are dropped", func() bool { return r.Stats().Drops["not_in_log"] == 3 })
	mustPublish(t, r, "h:a", "2")
	wantEvents(t, sink, "h:a", 2, 2)
	if n := r.Stats().Gaps; n > 0 {
		t.Errorf("%d gaps", n)
	}
}

// TestAForgedEventSilencesNoTopic forges one that could be next. It can't be told from a true one until the true
// one comes.
func TestAForgedEventSilencesNoTopic(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	one := mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	forge(t, r, "h:a", one, 2, time.Minute)
	if got := sink.event(t, "h:a"); got != `"forged"` {
		t.Errorf("got %s", got)
	}
	two := mustPublish(t, r, "h:a", "2")
	if d := sink.gap(t, "h:a"); d.at != two {
		t.Errorf("got %s, want a gap up to %s", d, two)
	}
	mustPublish(t, r, "h:a", "3")
	wantEvents(t, sink, "h:a", 3, 3)
}

// TestPositionsFarAheadAreFollowed has a log that really is: each event is doubted no more than once.
func TestPositionsFarAheadAreFollowed(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	mustFollow(t, r, "h:a", 0)
	mustPublish(t, r, "h:a", "1")
	wantEvents(t, sink, "h:a", 1, 1)
	setRecord(t, r, "h:a", ID{uint64(time.Now().Add(time.Hour).UnixMilli()), 1}, 1)
	server.CLI("client", "kill", "type", "pubsub")
	sink.gap(t, "h:a")
	number(t, r, "h:a", 2, 100)
	wantEvents(t, sink, "h:a", 2, 100)
	if n := r.Stats().Torn; n > 1 {
		t.Errorf("%d doubts", n)
	}
}

// TestRawEventsThatMayBeLostAreAGap publishes raw events to a topic with history, which no log brings back.
func TestRawEventsThatMayBeLostAreAGap(t *testing.T) {
	server := redistest.Start(t)
	r, sink := running(t, RedisConfig{URL: server.URL(), History: keepAll})
	for _, topic := range []string{"h:raw", "h:stored"} {
		mustFollow(t, r, topic, 0)
		mustPublish(t, r, topic, "1")
		wantEvents(t, sink, topic, 1, 1)
	}
	server.CLI("publish", "hub:t:h:raw", `"raw"`)
	sink.event(t, "h:raw")
	for round := range 2 {
		two := 2 + round
		hide(t, r, "h:raw", "2")
		hide(t, r, "h:stored", "2")
		server.CLI("client", "kill", "type", "pubsub")
		got := map[string][]told{}
		for range 3 {
			d := sink.next(t)
			got[d.topic] = append(got[d.topic], d)
		}
		if raw := got["h:raw"]; len(raw) != 2 || raw[0].Event == nil || raw[1].Event != nil || !raw[1].at.IsZero() {
			t.Errorf("the topic with raw events: %v", raw)
		}
		if stored := got["h:stored"]; len(stored) != 1 || stored[0].Event == nil {
			t.Errorf("the topic without: %v", stored)
		}
		mustPublish(t, r, "h:raw", "3")
		if d := sink.next(t); d.Event == nil || d.Number != uint64(2*two-1) {
			t.Errorf("got %s, number %d", d, d.Number)
		}
	}
}
