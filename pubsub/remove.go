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
	reply := r.run(ctx, []call{{
		kind: remove, partition: partition(topic), keys: r.names.log(topic), args: []any{r.names.topic(topic), string([]byte{removedMark})},
	}})[0]
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

// removedMark begins the news, on a topic's channel, that its history was removed: an ID follows, 16 bytes. No JSON
// text begins with it, and no envelope.
const removedMark = 0x03

// parseRemoved reads such news.
func parseRemoved(payload []byte) (last ID, ok bool) {
	if len(payload) != 17 || payload[0] != removedMark {
		return ID{}, false
	}
	return idOf(string(payload[1:])), true
}

// forgetUpTo lets the recent events of topic go, and none up to last be kept again: a reading of the log that is under
// way may still bring them.
func (r *Redis) forgetUpTo(topic string, last ID) {
	r.removals.Add(1)
	r.delivery.mu.Lock()
	defer r.delivery.unlock()
	if _, c, _ := r.follows.followers(r.names.topic(topic)); c != nil {
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
