package pubsub

import (
	"context"
	"encoding/binary"
	"fmt"
)

// RemoveHistory implements Broker. Nodes that follow the topic keep recent events of it in memory: this one forgets
// them before it returns, the others when they hear of it.
func (r *Redis) RemoveHistory(ctx context.Context, topic string) error {
	if _, keeps := r.cfg.History.For(topic); !keeps {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	reply := r.run(ctx, []scriptCall{{remove, logKeys(topic), []any{everyNode, string(removedMark), topic}}})[0]
	if err := reply.Err(); err != nil {
		return fmt.Errorf("remove the history of %q: %w: %s", topic, classify(err), err)
	}
	if last, _ := reply.Val().(string); len(last) == 16 {
		r.forgetUpTo(topic, idOf(last))
	}
	return nil
}

// idOf reads an ID of 16 bytes.
func idOf(b string) ID {
	return ID{binary.BigEndian.Uint64([]byte(b)), binary.BigEndian.Uint64([]byte(b[8:]))}
}

// removed takes the news that a topic's history was removed: an ID and the topic.
func (s *subscriber) removed(text string) {
	if len(text) <= 16 {
		s.drop(BadControl, everyNode)
		return
	}
	s.forgetUpTo(text[16:], idOf(text))
}

// forgetUpTo lets the recent events of topic go, and none up to last be kept again: a reading of the log that is under
// way may still bring them.
func (r *Redis) forgetUpTo(topic string, last ID) {
	r.removals.Add(1)
	r.delivery.mu.Lock()
	defer r.delivery.mu.Unlock()
	if _, c, _ := r.follows.followers(topicPrefix + topic); c != nil {
		r.delivery.recent.remove(c, last)
	}
}

// RemoveHistory implements Broker.
func (m *Memory) RemoveHistory(_ context.Context, topic string) error {
	m.order.Lock()
	defer m.order.Unlock()
	if l, ok := m.logs.get(topic); ok {
		for len(l.events) > 0 {
			m.kept.shift(l)
		}
	}
	return nil
}
