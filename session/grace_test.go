package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/token"
)

// pagedBroker is a Memory whose reads of pages wait until they are let go. A first look is no page.
type pagedBroker struct {
	*pubsub.Memory
	pages chan struct{}
}

func (b *pagedBroker) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	if limit.Bytes > firstPage {
		select {
		case <-b.pages:
		case <-ctx.Done():
		}
	}
	return b.Memory.Replay(ctx, topic, since, limit)
}

// The client was told that it follows, and sends another token within the grace: the topic must not have gone meanwhile,
// though its replay ended between the two.
func TestAReplayThatEndsInTheGraceOfATokenIsFollowed(t *testing.T) {
	t.Parallel()
	history := pubsub.History{{Count: 1000}}
	verifier, err := token.NewVerifier(token.Config{Secrets: []string{hubSecret}, Skew: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &pagedBroker{pubsub.NewMemory(pubsub.MemoryConfig{History: history}), make(chan struct{})}
	hub, err := newHub(Config{History: history, Verifier: verifier}, b)
	if err != nil {
		t.Fatal(err)
	}
	n := run(t, hub, engine.Config{Pollers: 1})
	n.number("news", 1, 3, 5000) // the first look keeps none

	grant := token.Grant{TTL: 2 * time.Second, Subscribe: []string{"news"}} // time to come and to subscribe
	c := n.v1("?token=" + mint(t, secretSigner(t), grant))
	c.send(`{"type":"subscribe","id":1,"topic":"news","since":"0"}`)
	for range 2 { // and the own topic
		if h := c.hear(); h.Type != "subscribed" {
			t.Fatalf("%+v", h)
		}
	}
	c.wantError(ExpiredToken)
	close(b.pages)
	c.wantEvents("news", 1, 3)
	n.number("news", 4, 4, 10)
	c.wantEvents("news", 4, 4)
	c.send(`{"type":"subscribe","id":2,"topic":"news:2"}`)
	c.wantError(ExpiredToken) // nothing new
	c.send(fmt.Sprintf(`{"type":"auth","id":3,"token":%q}`, mint(t, secretSigner(t), token.Grant{Subscribe: []string{"news"}})))
	c.wantRenewed(3)
	n.number("news", 5, 5, 10)
	c.wantEvents("news", 5, 5)
}
