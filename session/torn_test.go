package session

import (
	"context"
	"fmt"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// tornBroker is a Memory whose first two reads of a log are told to the test: the first one answers when it is let go,
// with what it read before; the second one fails.
type tornBroker struct {
	*pubsub.Memory
	reads int
	asked chan struct{}
	let   chan struct{}
}

func (b *tornBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	replay, err := b.Memory.Replay(ctx, topic, since, limit)
	if limit.Events == 0 { // where does it stand?
		return replay, err
	}
	switch b.reads++; b.reads {
	case 1:
		b.asked <- struct{}{}
		<-b.let
	case 2:
		return pubsub.Replay{}, pubsub.ErrUnavailable
	}
	return replay, err
}

// More is lost while a loss is being mended, and then the log can't be read: the gap reaches over both.
func TestAGapReachesOverAllThatWasLost(t *testing.T) {
	history := pubsub.History{{Count: 1000}}
	b := &tornBroker{Memory: pubsub.NewMemory(pubsub.MemoryConfig{History: history}), asked: make(chan struct{}), let: make(chan struct{})}
	n := start(t, Config{History: history, MaxInbox: 64 << 10, Workers: 1}, engine.Config{Pollers: 1}, b)
	c := n.v1("")
	c.follow("news")
	n.number("news", 1, 1, 10)
	c.wantEvents("news", 1, 1)

	resume := n.pause()
	n.number("news", 2, 21, 6000) // about ten fit
	resume()
	<-b.asked
	n.number("news", 22, 40, 6000) // the ten wait still: none fits
	var last pubsub.Position
	n.eventually("the loop knows of the second loss", func() bool {
		n.onLoop(func() { last = n.hub.shards[0].topics.get("news").ext.torn })
		return !last.IsZero()
	})
	close(b.let)
	for i := 2; ; i++ {
		h := c.hear()
		if h.Type == "gap" {
			if h.Position != last.String() {
				t.Errorf("the gap ends at %s, and what was lost at %s", h.Position, last)
			}
			break
		}
		if want := fmt.Sprintf("[%d,", i); h.Type != "event" || string(h.Data[:len(want)]) != want {
			t.Fatalf("%s %.20s, want %s", h.Type, h.Data, want)
		}
	}
	n.written()
	n.number("news", 41, 41, 10)
	c.wantEvents("news", 41, 41)
}

// A gap that waited while a later loss was mended is no news any more: followers are not taken back to it.
func TestFollowersAreNotTakenBackToAnOlderGap(t *testing.T) {
	history := pubsub.History{{Count: 1000}}
	b := &tornBroker{Memory: pubsub.NewMemory(pubsub.MemoryConfig{History: history}), asked: make(chan struct{}), let: make(chan struct{})}
	n := start(t, Config{History: history, MaxInbox: 64 << 10, Workers: 1, ReplayLimit: 5}, engine.Config{Pollers: 1}, b)
	c := n.v1("")
	at, err := pubsub.ParsePosition(c.follow("news")["news"])
	if err != nil {
		t.Fatal(err)
	}
	n.number("news", 1, 1, 10)
	c.wantEvents("news", 1, 1)

	resume := n.pause()
	n.number("news", 2, 10, 6000)
	n.hub.Gap("news", pubsub.Loops(0).With(0), pubsub.Loss{At: pubsub.Position{Epoch: at.Epoch, ID: pubsub.ID{Ms: at.ID.Ms + 1, Seq: 1}}})
	n.hub.HandOver()
	n.number("news", 11, 30, 6000) // more than fit, and more than ReplayLimit
	resume()
	<-b.asked
	close(b.let)
	h := c.hear()
	if h.Type != "gap" {
		t.Fatalf("%s %.20s", h.Type, h.Data)
	}
	n.written()
	n.number("news", 31, 31, 10)
	c.wantEvents("news", 31, 31)
}

// written waits until nothing waits in the first loop's inbox or its topics.
func (n *node) written() {
	n.t.Helper()
	n.eventually("what was written waits no more", func() bool {
		sh := n.hub.shards[0]
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return sh.bytes == 0
	})
}
