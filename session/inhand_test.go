package session

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// resumes has a client come back to topics:1 to topics:n, of which it has nothing, and hears the answer.
func (n *node) resumes(topics int) *client {
	n.t.Helper()
	c, welcome := n.enter("")
	positions := map[string]string{}
	for i := range topics {
		positions[fmt.Sprint("topic:", i)] = "0"
	}
	if h := c.resume(welcome.Token, positions); h.Type != "resumed" {
		n.t.Fatalf("%+v", h.Type)
	}
	return c
}

// wantAll reads until the events 1 to last of each topic have come, each topic's in order.
func (c *client) wantAll(topics, last int) {
	c.t.Helper()
	seen := map[string]int{}
	for left := topics * last; left > 0; left-- {
		h := c.hear()
		if h.Type != "event" || !strings.HasPrefix(string(h.Data), fmt.Sprintf("[%d,", seen[h.Topic]+1)) {
			c.t.Fatalf("got %s %s %.20s behind %d", h.Type, h.Topic, h.Data, seen[h.Topic])
		}
		seen[h.Topic]++
	}
}

// However many topics a client comes back to, it is not handed so much that it counts as slow: it may read as slowly as
// one of a single topic.
func TestAReplayOfManyTopicsOwesNoMoreThanMayWait(t *testing.T) {
	const topics, maxQueued = 10, 64 << 10
	history := pubsub.History{{Count: 1000}}
	n := start(t, Config{History: history}, engine.Config{Pollers: 1, MaxQueued: maxQueued, SendBuffer: 8 << 10},
		pubsub.NewMemory(pubsub.MemoryConfig{History: history}))
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	for i := range topics {
		n.number(fmt.Sprint("topic:", i), 1, 60, 4900)
	}
	c := n.resumes(topics)
	n.eventually("the client's queue is full", func() bool {
		waits := false
		n.onLoop(func() {
			for s := range n.sessions() {
				w := s.busy()
				waits = waits || w != nil && w.pumping && w.paging == nil && s.conn.Queued() > 0
			}
		})
		return waits && n.hub.Stats().Reads == 0
	})
	if b := n.server.Stats().Backlog; b > maxQueued {
		t.Errorf("%d bytes wait for a client that may have %d", b, maxQueued)
	}
	c.wantAll(topics, 60)
}

// lastBroker is a Memory that answers for one topic when it is told to.
type lastBroker struct {
	*pubsub.Memory
	topic string
	asked chan struct{}
	let   chan struct{}
}

func (b *lastBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if topic == b.topic {
		b.asked <- struct{}{}
		select {
		case <-b.let:
		case <-ctx.Done():
		}
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

// While a resume waits for its last topic, what was read of the others is not held against the client.
func TestAResumeThatWaitsOwesNoMoreThanMayWait(t *testing.T) {
	const topics, maxQueued = 60, 64 << 10
	history := pubsub.History{{Count: 1000}}
	b := &lastBroker{pubsub.NewMemory(pubsub.MemoryConfig{History: history}), "topic:9", make(chan struct{}, 100), make(chan struct{})}
	n := start(t, Config{History: history}, engine.Config{Pollers: 1, MaxQueued: maxQueued}, b)
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	for i := range topics {
		n.number(fmt.Sprint("topic:", i), 1, 1, 3500)
	}
	var owed atomic.Int64
	go func() {
		<-b.asked // all before it, by name, have been read
		owed.Store(n.server.Stats().Backlog)
		close(b.let)
	}()
	c := n.resumes(topics)
	if owed := owed.Load(); owed == 0 || owed > maxQueued {
		t.Errorf("%d bytes were owed to a client that may have %d", owed, maxQueued)
	}
	c.wantAll(topics, 1)
}

// Live events that come while a slow client is in its replay are read from the log later: they are not kept for hours.
func TestWhatIsHeldForASlowClientIsBounded(t *testing.T) {
	t.Parallel()
	const topics, maxQueued = 8, 64 << 10
	history := pubsub.History{{Count: 1000}}
	n := start(t, Config{History: history}, engine.Config{Pollers: 1, MaxQueued: maxQueued, SendBuffer: 8 << 10},
		pubsub.NewMemory(pubsub.MemoryConfig{History: history}))
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	for i := range topics {
		n.number(fmt.Sprint("topic:", i), 1, 2+i*5, 4900) // some are small enough for the first look, some have pages
	}
	c := n.resumes(topics)
	const last = 50
	for i := range topics { // soon, for a client that takes nothing meanwhile is cut after a second
		n.numberAtOnce(fmt.Sprint("topic:", i), 3+i*5, last, 4900)
	}
	held := 0
	n.onLoop(func() {
		for s := range n.sessions() {
			if w := s.busy(); w != nil {
				for _, sub := range w.pending {
					held += sub.heldBytes
					if sub.heldBytes == 0 && len(sub.held) > 0 {
						t.Error("what is held is not counted")
					}
				}
				if held != w.held {
					t.Errorf("%d bytes are held, counted %d", held, w.held)
				}
			}
		}
	})
	if held > maxQueued/4+5200 {
		t.Errorf("%d bytes are held", held)
	}
	c.wantAll(topics, last)
	n.eventually("nothing is left", func() bool {
		left := 0
		n.onLoop(func() {
			for s := range n.sessions() {
				if s.busy() != nil {
					left++
				}
			}
		})
		return left == 0
	})
	for i := range topics {
		n.number(fmt.Sprint("topic:", i), last+1, last+1, 10)
	}
	for range topics {
		if h := c.hear(); h.Type != "event" || !strings.HasPrefix(string(h.Data), fmt.Sprintf("[%d,", last+1)) {
			t.Fatalf("%s %.20s", h.Type, h.Data)
		}
	}
}
