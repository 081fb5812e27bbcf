package pusher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// awayBroker can't read histories while it is away.
type awayBroker struct {
	*pubsub.Memory
	away atomic.Bool
}

func (b *awayBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if b.away.Load() {
		return pubsub.Replay{}, pubsub.ErrUnavailable
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

// Subscriptions that the broker can't serve now are tried again until it can, for as many channels as a connection may have, and no more.
func TestSubscriptionsThatWaitForTheBrokerAreBounded(t *testing.T) {
	t.Parallel()
	b := &awayBroker{}
	b.away.Store(true)
	n := startAt(t, session.Config{MaxTopics: 3, MessageRate: -1}, engine.Config{}, func(m *pubsub.Memory) session.Broker {
		b.Memory = m
		return b
	})
	c := n.connect(app)
	for i := range 3 {
		c.ask(fmt.Sprint("cache-", i), "")
	}
	for i := 3; i < 100; i++ {
		channel := fmt.Sprint("cache-", i)
		c.ask(channel, "")
		c.wantFault(channel, "LimitReached", 4004)
	}
	c.say("pusher:unsubscribe", map[string]any{"channel": "cache-0"})
	c.ask("cache-3", "")
	b.away.Store(false)
	answered := map[string]bool{}
	for range 6 { // each is answered, and has no event yet
		answered[c.hear().Channel] = true
	}
	if len(answered) != 3 || answered["cache-0"] {
		t.Errorf("answered: %v", answered)
	}
}

// overtaken is a broker whose first readings fail, and whose next one is overtaken by two events.
type overtaken struct {
	*pubsub.Memory
	failures atomic.Int32
	publish  func()
}

func (b *overtaken) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	left := b.failures.Add(-1)
	if left >= 0 {
		return pubsub.Replay{}, pubsub.ErrUnavailable
	}
	replay, err := b.Memory.Replay(ctx, topic, since, limit)
	if left == -1 {
		b.publish()
	}
	return replay, err
}

// However often the broker was away before, the last event of a cache channel comes.
func TestACacheThatIsOvertakenIsReadAgainAfterFailures(t *testing.T) {
	t.Parallel()
	b := &overtaken{}
	b.failures.Store(3)
	n := startAt(t, session.Config{}, engine.Config{}, func(m *pubsub.Memory) session.Broker {
		b.Memory = m
		return b
	})
	event := func(data string) pubsub.Publication { return app.Publication("cache-a", "price", data, "") }
	n.publish(event("1"))
	b.publish = func() {
		for _, data := range []string{"2", "3"} {
			if r := n.broker.Publish(context.Background(), []pubsub.Publication{event(data)}); r[0].Err != nil {
				t.Error(r[0].Err)
			}
		}
	}
	c := n.connect(app)
	c.ask("cache-a", "")
	n.eventually("it was read", func() bool { return b.failures.Load() < 0 }) // seconds later
	if h := c.hear(); h.Event != "pusher_internal:subscription_succeeded" {
		t.Fatal(h)
	}
	c.wantText("price", "cache-a", "3")
}

// busyBroker publishes two events to a topic before the next readings of what follows a position in it.
type busyBroker struct {
	*pubsub.Memory
	times atomic.Int64
}

func (b *busyBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if !limit.Backwards && b.times.Add(-1) >= 0 {
		for range 2 {
			b.Memory.Publish(ctx, []pubsub.Publication{{Topic: topic, Data: []byte("0")}})
		}
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

// A member who comes to a cache channel while that is written to comes once, though its subscription is tried again.
func TestAMemberOfABusyCacheChannelComesOnce(t *testing.T) {
	t.Parallel()
	b := &busyBroker{}
	n := startAt(t, session.Config{}, engine.Config{}, func(m *pubsub.Memory) session.Broker {
		b.Memory = m
		return b
	})
	const channel = "presence-cache-a"
	watcher, c := n.connect(app), n.connect(app)
	watcher.join(channel, `{"user_id":"watcher"}`)
	b.times.Store(2)
	if members := c.join(channel, `{"user_id":"u"}`); members.Presence.Count != 2 {
		t.Errorf("%d members", members.Presence.Count)
	}
	n.publish(app.Publication(channel, "end", "", ""))
	var moves []string
	for h := watcher.hear(); h.Event != "end"; h = watcher.hear() {
		if strings.HasPrefix(h.Event, "pusher_internal:member_") {
			moves = append(moves, h.Event+h.text())
		}
	}
	if want := []string{`pusher_internal:member_added{"user_id":"u","user_info":null}`}; !slices.Equal(moves, want) {
		t.Errorf("told %q, want %q", moves, want)
	}
}
