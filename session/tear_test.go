package session

import (
	"context"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// The last follower leaves while what was lost is read again, and its topic's turn is yet to come.
func TestATopicThatIsLeftWhileItIsReadAgainHoldsUpNobody(t *testing.T) {
	n := bend(t, Config{}, engine.Config{Pollers: 1}, &bent{})
	stays, leaves := n.v1(""), n.v1("")
	stays.follow("other")
	leaves.follow("news")
	n.number("news", 1, 1, 10)
	at, _ := pubsub.ParsePosition(leaves.wantEvents("news", 1, 1))
	sh := n.hub.shards[0]
	n.onLoop(func() {
		name := sh.topics.get("news")
		m := &message{topic: "news", position: at, event: &pubsub.Event{Topic: "news", Position: at, Data: []byte(`2`)}}
		sh.giveBack(-m.size())
		sh.enqueue(m)
		name.ext.rereading = true
		name.followers.at(0).conn.Close(Disconnected)
		sh.mend(name, at, pubsub.Replay{}, pubsub.ErrUnavailable)
		sh.flush()
	})
	n.number("other", 1, 3, 10)
	stays.wantEvents("other", 1, 3)
	n.eventually("nothing is counted any more", func() (none bool) {
		n.onLoop(func() {
			sh.mu.Lock()
			defer sh.mu.Unlock()
			none = sh.bytes == 0
		})
		return none
	})
	if p := n.server.Stats().Panics; p != 0 {
		t.Errorf("%d panics", p)
	}
}

// Messages count until they are written, also where they wait because others are read again before them.
func TestWhatWaitsInATopicCountsAsWhatWaitsInTheInbox(t *testing.T) {
	g := newGate()
	history := pubsub.History{{Count: 5}}
	n := bend(t, Config{MaxInbox: 256 << 10, History: history, PublishTimeout: time.Minute}, engine.Config{Pollers: 1}, &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "held" {
			return g.wait(ctx)
		}
		return nil
	}})
	t.Cleanup(g.open)
	c, other := n.v1(""), n.v1("")
	other.follow("other")
	c.send(`{"type":"subscribe","topic":"held"}`)
	g.pass <- struct{}{}
	c.hear()
	n.number("held", 1, 1, 10)
	c.wantEvents("held", 1, 1)
	resume := n.pause()
	n.number("held", 2, 9, 60_000) // over MaxInbox
	resume()
	<-g.came
	<-g.came // the log is read again
	before := heap()
	const events, size = 200, 60_000
	for i := range events {
		n.number("held", 10+i, 10+i, size)
		n.onLoop(func() {}) // so that the loop takes what has come
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("%d bytes more, of %d that were published", grown, events*size)
	}
	if dropped := n.hub.Stats().Dropped["inbox_full"]; dropped < events*9/10 {
		t.Errorf("%d of %d were dropped", dropped, events)
	}
	g.open()
	if h := c.hear(); h.Type != "gap" {
		t.Errorf("%+v", h)
	}
	n.number("held", 10+events, 12+events, 10)
	c.wantEvents("held", 10+events, 12+events)
	n.number("other", 1, 1, 10)
	other.wantEvents("other", 1, 1)
}

// TestAnUnkeptEventThatDoesNotFitIsToldAsLost: before or behind it a kept one does not fit into the inbox either. The log has that one only.
func TestAnUnkeptEventThatDoesNotFitIsToldAsLost(t *testing.T) {
	for name, unkeptFirst := range map[string]bool{"before": true, "behind": false} {
		t.Run(name, func(t *testing.T) {
			n := keeping(t, Config{MaxInbox: 64 << 10}, engine.Config{Pollers: 1})
			c := n.v1("")
			c.follow("news")
			n.number("news", 1, 1, 10)
			c.wantEvents("news", 1, 1)
			resume := n.pause()
			n.number("news", 2, 2, 60_000)
			if !unkeptFirst {
				n.number("news", 3, 3, 10_000)
			}
			unkept := pubsub.Publication{Topic: "news", Data: []byte(`"` + strings.Repeat("x", 10_000) + `"`), Unkept: true}
			if results, err := n.hub.Publish(t.Context(), []pubsub.Publication{unkept}); err != nil || results[0].Err != nil {
				t.Fatal(results, err)
			}
			if unkeptFirst {
				n.number("news", 3, 3, 10)
			}
			resume()
			c.wantEvents("news", 2, 3)
			if h := c.hear(); h.Type != "gap" || h.Topic != "news" {
				t.Errorf("%+v", h)
			}
			n.number("news", 4, 4, 10)
			c.wantEvents("news", 4, 4)
		})
	}
}
