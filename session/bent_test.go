package session

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"wshub/engine"
	"wshub/pubsub"
)

// bent is a Memory whose calls a test holds up, or has fail. Each func is called before the broker's own work, from
// any goroutine; an error is the answer to the call.
type bent struct {
	*pubsub.Memory
	onFollow  func(topic string) error
	onPublish func(ctx context.Context, topic string)
	onReplay  func(ctx context.Context, topic string) error
	replayed  func(topic string, r pubsub.Replay) // called behind it
}

func (b *bent) Follow(topic string, loop int, done func(error)) {
	if b.onFollow != nil {
		if err := b.onFollow(topic); err != nil {
			done(err)
			return
		}
	}
	b.Memory.Follow(topic, loop, done)
}

func (b *bent) Publish(ctx context.Context, batch []pubsub.Publication) []pubsub.Result {
	if b.onPublish != nil {
		for i := range batch {
			b.onPublish(ctx, batch[i].Topic)
		}
	}
	return b.Memory.Publish(ctx, batch)
}

func (b *bent) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if b.onReplay != nil {
		if err := b.onReplay(ctx, topic); err != nil {
			return pubsub.Replay{}, err
		}
	}
	r, err := b.Memory.Replay(ctx, topic, since, limit)
	if b.replayed != nil {
		b.replayed(topic, r)
	}
	return r, err
}

// kept is what bent nodes keep unless they are told otherwise: the last 1,000 events of all topics whose names do not begin with "raw".
var kept = pubsub.History{{Prefix: "raw"}, {Count: 1000}}

// bend starts a node on b that keeps a history, gives resume tokens, and closes the sessions that are revoked.
func bend(t *testing.T, cfg Config, ecfg engine.Config, b *bent) *node {
	t.Helper()
	var hub *Hub // set before the broker is asked to revoke
	if cfg.History == nil {
		cfg.History = kept
	}
	b.Memory = pubsub.NewMemory(pubsub.MemoryConfig{History: cfg.History, OnRevoked: func(list []pubsub.Revocation) { hub.Revoked(list) }})
	n := start(t, cfg, ecfg, b)
	hub = n.hub
	hub.UseSealer(sealer(t, make([]byte, 32)))
	return n
}

// gate holds up whoever comes until it is let pass.
type gate struct {
	came chan struct{} // gets one for each who comes
	pass chan struct{} // lets one pass; closed, all
	once sync.Once
}

func newGate() *gate { return &gate{came: make(chan struct{}, 1<<16), pass: make(chan struct{})} }

func (g *gate) wait(ctx context.Context) error {
	g.came <- struct{}{}
	select {
	case <-g.pass:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", pubsub.ErrUnavailable, ctx.Err())
	}
}

func (g *gate) open() { g.once.Do(func() { close(g.pass) }) }

// together has the loops find all of texts at once, as after one write of the client's.
func (n *node) together(c *client, texts ...string) {
	n.t.Helper()
	resume := n.pause()
	defer resume()
	for _, text := range texts {
		c.send(text)
	}
}

// hearsNothing fails if anything but pongs, and messages of a user's own topic, comes before the answer to a ping.
func (c *client) hearsNothing() {
	c.t.Helper()
	c.send(`{"type":"ping","id":"nothing"}`)
	for {
		switch h := c.hear(); {
		case h.Type == "pong":
			return
		case !strings.HasPrefix(h.Topic, userPrefix):
			c.t.Fatalf("heard %+v", h)
		}
	}
}
