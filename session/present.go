package session

import (
	"cmp"
	"context"
	"slices"
	"time"

	"wshub/pubsub"
)

// presentSlice bounds the members that are listed in one turn of a loop: some 0.5 ms.
const presentSlice = 2048

// Members calls yield for each member that this node has of the topics of a partition, for the broker's repair: see
// pubsub.PresenceConfig. It blocks until every loop has answered.
func (h *Hub) Members(ctx context.Context, partition byte, yield func(topic string, m pubsub.Member)) error {
	if h.cfg.Presence == nil && !h.cfg.Lifecycle {
		return nil
	}
	lists := make(chan []present, len(h.shards))
	for _, sh := range h.shards {
		l := &listing{sh: sh, ctx: ctx, done: func(found []present) { lists <- found }}
		if !sh.loop.Post(func() { l.begin(partition) }) {
			return pubsub.ErrUnavailable
		}
	}
	for range h.shards {
		select {
		case found := <-lists:
			for i := range found {
				yield(found[i].topic, found[i].Member)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// present is a member of a topic.
type present struct {
	topic string
	pubsub.Member
}

// listing lists the members of a partition on one loop, a slice a turn. Each is on it as at its beginning, or as later: one that follows
// at first and is away by the time that its topic is looked at is among those who have gone away meanwhile, who are listed at the end.
type listing struct {
	sh     *shard
	ctx    context.Context // of the caller, who may have gone
	away   []*away         // yet to be listed
	seen   time.Duration   // the hub's age up to which those who are away are listed, or in away
	lives  []*Session      // yet to be listed, as members of their hidden topics
	topics []*topic
	crowd  []*Session // of topic, yet to be listed
	topic  string
	found  []present
	// partition is the one that is listed.
	partition int
	done      func([]present)
}

func (l *listing) begin(partition byte) {
	p := l.sh.presence
	for t := range p.topics[partition] {
		l.topics = append(l.topics, t)
	}
	l.takeAway()
	l.partition = int(partition)
	if l.sh.hub.cfg.Lifecycle {
		l.lives = slices.Collect(l.sh.lives(l.partition))
	}
	l.next()
}

// takeAway queues the members that have gone away since its last call.
func (l *listing) takeAway() {
	hub, list := l.sh.hub, l.sh.presence.away.list[l.sh.presence.away.head:]
	since, _ := slices.BinarySearchFunc(list, l.seen+hub.cfg.PresenceGrace, func(a *away, due time.Duration) int { return cmp.Compare(a.due, due) })
	l.away, l.seen = slices.Clone(list[since:]), time.Since(hub.born)
}

// listAway lists some of those who are away, and returns how much there was to look at.
func (l *listing) listAway() (n int) {
	for ; len(l.away) > 0 && n < presentSlice; l.away = l.away[1:] {
		a := l.away[0]
		for name := range l.sh.presence.away.stays(a) {
			if pubsub.Partition(name) == l.partition {
				m := a.member
				if hidden(name) {
					m.Info = nil
				}
				l.found = append(l.found, present{name, m})
			}
		}
		n += 1 + len(a.topics)
	}
	return n
}

// listLives lists some of the sessions themselves, and returns how much there was to look at.
func (l *listing) listLives() int {
	some := l.lives[:min(len(l.lives), presentSlice)]
	for _, s := range some {
		if topic := s.life(); topic != "" { // one that has ended meanwhile is away
			l.found = append(l.found, present{topic, s.alive()})
		}
	}
	l.lives = l.lives[len(some):]
	return len(some)
}

func (l *listing) next() {
	if l.ctx.Err() != nil {
		return
	}
	for n := l.listAway() + l.listLives(); n < presentSlice; {
		if len(l.crowd) == 0 {
			if len(l.topics) == 0 {
				if l.takeAway(); len(l.away) > 0 {
					n += l.listAway()
					continue
				}
				l.done(l.found)
				return
			}
			l.take(l.topics[len(l.topics)-1])
			l.topics = l.topics[:len(l.topics)-1]
			n++
			continue
		}
		some := l.crowd[:min(len(l.crowd), presentSlice-n)]
		for _, s := range some {
			l.found = append(l.found, present{l.topic, s.memberIn(l.topic)})
		}
		l.crowd, n = l.crowd[len(some):], n+len(some)
	}
	l.sh.loop.Post(l.next)
}

// take has t's members listed next. They are copied: a crowd changes its order when somebody leaves.
func (l *listing) take(t *topic) {
	l.topic = t.name
	for i := range t.followers.len() {
		l.crowd = append(l.crowd, t.followers.at(i))
	}
	if t.ext == nil {
		return
	}
	for _, sub := range t.ext.waiting {
		if sub.entered {
			l.crowd = append(l.crowd, sub.s)
		}
	}
}
