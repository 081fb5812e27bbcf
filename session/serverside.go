package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"wshub/pubsub"
)

// This file has the orders of backends to sessions, wherever they are, and to a topic's history. An order to sessions goes
// to every node and is done on their loops: no error means that it was sent, not that such a session exists.

// Following is a topic that a backend has sessions follow.
type Following struct {
	Topic string
	// Since is where they left off, nil to follow from now on.
	Since *pubsub.Position
	// Until is when it ends by itself, zero for never.
	Until time.Time
}

// following is a Following on its way to the nodes; where the backend ends one, it is a topic alone.
type following struct {
	Target
	Topic string           `json:"topic"`
	Since *pubsub.Position `json:"since,omitempty"`
	Until time.Time        `json:"until,omitzero"`
}

// renewal sets when the tokens of sessions end.
type renewal struct {
	Target
	Expires int64 `json:"expires,omitempty"` // in ms; 0: never
}

// Subscribe has the sessions that target names follow a topic, on every node. It needs no right of theirs: the backend's
// word is one. A session that follows the topic already goes on. The limits hold; a session that has reached one does
// not follow, which is counted as subscribe_refused. ErrBadTarget for a bad target or topic; else the broker's errors.
func (h *Hub) Subscribe(ctx context.Context, target Target, f Following) error {
	if err := validateFollowing(target, f.Topic); err != nil {
		return err
	}
	return h.sendOrder(ctx, "", control{Subscribe: &following{target, f.Topic, f.Since, f.Until}})
}

// Unsubscribe has the sessions that target names leave a topic, on every node, but for their user's own, which is not
// left. Errors as with Subscribe.
func (h *Hub) Unsubscribe(ctx context.Context, target Target, topic string) error {
	if err := validateFollowing(target, topic); err != nil {
		return err
	}
	return h.sendOrder(ctx, "", control{Unsubscribe: &following{Target: target, Topic: topic}})
}

func validateFollowing(target Target, topic string) error {
	if err := target.validate(); err != nil {
		return err
	}
	if err := validateTopic(topic); err != nil {
		return fmt.Errorf("%w: %w", ErrBadTarget, err)
	}
	return nil
}

// Refresh sets when the tokens of the sessions that target names end, on every node: zero for never. At a time that has
// passed they end now, as if by themselves. A session without a token has nothing that could be prolonged; if it is to end
// now, it is closed. Errors as with Subscribe.
func (h *Hub) Refresh(ctx context.Context, target Target, expires time.Time) error {
	if err := target.validate(); err != nil {
		return err
	}
	return h.sendOrder(ctx, "", control{Refresh: &renewal{target, unixMilli(expires)}})
}

// Replay reads a topic's log on behalf of a backend, which may read every one: see pubsub.Broker.
func (h *Hub) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	return h.broker.Replay(ctx, topic, since, limit)
}

// RemoveHistory removes the events of a topic's history; its position stays: see pubsub.Broker.
func (h *Hub) RemoveHistory(ctx context.Context, topic string) error {
	return h.broker.RemoveHistory(ctx, topic)
}

// followForBackend follows a topic at a backend's word, behind the answer to a client that is to be told of other ones
// first.
func (s *Session) followForBackend(f *following) {
	if g := s.gathering(); g != nil {
		g.order(s, f)
		return
	}
	if r := s.Allow(f.Topic, f.Until); !r.None() {
		s.disobey(f.Topic, r)
		return
	}
	if s.following(f.Topic) < 0 && s.waitingFor(f.Topic) == nil {
		s.subscribe(f.Topic, f.Since, ordered{unasked{s}})
	}
}

// ordered is the owner of subscriptions that a backend ordered. They are tried for until they are there.
type ordered struct{ unasked }

func (o ordered) onOutcome(sub *subscribing, out Outcome) bool {
	if !out.None() {
		o.s.disobey(out.Topic, out.Refusal)
	}
	return o.unasked.onOutcome(sub, out)
}

// disobey notes why a topic is not followed though a backend wants it.
func (s *Session) disobey(topic string, why Refusal) {
	s.drop("subscribe_refused", topic, "a backend's subscription: "+why.Text)
}

// order has f wait. One is kept of each topic, and no more than a session may follow.
func (g *group) order(s *Session, f *following) {
	g.cancel(f.Topic)
	if len(g.orders) >= s.shard.hub.cfg.MaxTopics {
		s.disobey(f.Topic, Refusal{TooManyTopics, "too many wait"})
		return
	}
	g.orders = append(g.orders, f)
}

// cancel forgets the order to follow topic.
func (g *group) cancel(topic string) {
	g.orders = slices.DeleteFunc(g.orders, func(f *following) bool { return f.Topic == topic })
}

// leaveForBackend leaves a topic at a backend's word, and tells the client if it was told that it follows.
func (s *Session) leaveForBackend(topic string) {
	if g := s.gathering(); g != nil {
		g.cancel(topic)
	}
	told := s.following(topic) >= 0
	if sub := s.waitingFor(topic); sub != nil {
		told = sub.reported && !(sub.stage == gathered && sub.owner.gathers())
	}
	if s.Unsubscribe(topic).None() && told && s.Open() {
		s.protocol().Left(s, topic, Refusal{Unsubscribed, "the backend ended it"})
	}
}

// renew sets when the session's token ends.
func (s *Session) renew(r *renewal) {
	g := s.granted()
	if g == nil {
		if r.Expires != 0 && r.Expires <= s.shard.hub.now().UnixMilli() {
			s.conn.Close(TokenExpired)
		}
		return
	}
	g.stop(s.shard.loop)
	g.timer, g.expires = nil, r.Expires
	if r.Expires == 0 || r.Expires > s.shard.hub.now().UnixMilli() {
		s.protocol().Renewed(s)
	}
	s.watchGrant()
}
