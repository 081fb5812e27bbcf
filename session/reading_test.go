package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// countedBroker is a Memory that counts the reads of its logs, and fails those with err, if there is one.
type countedBroker struct {
	*pubsub.Memory
	reads atomic.Int64
	err   error
}

func (b *countedBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	b.reads.Add(1)
	if b.err != nil {
		return pubsub.Replay{}, b.err
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

func counted(t *testing.T, ecfg engine.Config, err error) (*node, *countedBroker) {
	history := pubsub.History{{Count: 1000}}
	b := &countedBroker{Memory: pubsub.NewMemory(pubsub.MemoryConfig{History: history}), err: err}
	n := start(t, Config{History: history}, ecfg, b)
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	return n, b
}

func TestEachPageOfAReplayIsReadOnce(t *testing.T) {
	n, b := counted(t, engine.Config{Pollers: 1}, nil)
	n.number("news", 1, 300, 4000) // ten pages of 128 KiB
	c := n.v1("")
	c.send(`{"type":"subscribe","topic":"news","since":"0"}`)
	if h := c.hear(); h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	c.wantEvents("news", 1, 300)
	n.number("news", 301, 301, 10)
	c.wantEvents("news", 301, 301)
	if reads := b.reads.Load(); reads > 12 {
		t.Errorf("%d reads for a first look and ten pages", reads)
	}
}

// While the broker can't be reached, a client of many topics is told after one attempt, not one for each topic.
func TestAResumeOfManyTopicsFailsAsSoonAsOne(t *testing.T) {
	n, b := counted(t, engine.Config{Pollers: 1}, fmt.Errorf("read: %w", pubsub.ErrUnavailable))
	_, welcome := n.enter("")
	positions := map[string]string{}
	for i := range 100 {
		positions[fmt.Sprint("topic:", i)] = "0"
	}
	c, _ := n.enter("")
	h := c.resume(welcome.Token, positions)
	if h.Type != "resumed" || len(h.Topics) != 100 {
		t.Fatalf("%+v", h)
	}
	for topic, r := range h.Topics {
		if r.Error != Unavailable {
			t.Errorf("%s: %+v", topic, r)
		}
	}
	if reads := b.reads.Load(); reads > 2 {
		t.Errorf("%d attempts", reads)
	}
}

// One failure answers requests of every kind that wait, though the first answer leaves nothing else to do.
func TestAFailureAnswersAllThatWaitBehindIt(t *testing.T) {
	n, _ := counted(t, engine.Config{Pollers: 1}, fmt.Errorf("read: %w", pubsub.ErrUnavailable))
	n.plain("?topic=news", 1) // so that the broker has confirmed the topic, and the subscription is read for first
	c := n.v1("")
	const requests = 20
	resume := n.pause()
	c.send(`{"type":"subscribe","id":0,"topic":"news","since":"0"}`)
	for i := 1; i < requests; i++ {
		c.send(fmt.Sprintf(`{"type":"history","id":%d,"topic":"news"}`, i))
	}
	resume()
	for range requests {
		c.wantError(Unavailable)
	}
}
