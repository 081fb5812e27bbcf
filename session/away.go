package session

import (
	"slices"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// awayList are the sessions of a loop that have disconnected, or must follow a topic anew, and stay members until their time
// is up, in this order: all have the same. A session that has come back, here or at another node, is of a later
// generation, so the broker does not heed it when the earlier one leaves.
type awayList struct {
	list   []*away // from head on
	head   int
	topics int                // of list, those included that a session has come back to
	at     map[awayFrom]*away // the last one of each
	timer  *engine.Timer
}

// awayFrom is a session and a topic that it is still a member of.
type awayFrom struct {
	id    uint64
	topic string
}

// away is a session that stays a member until due: of those of topics where awayList.at has it.
type away struct {
	id     uint64
	member pubsub.Member
	topics []string
	cause  string
	due    time.Duration // the hub's age
}

// awaySlice bounds the topics that are left in one turn of the loop.
const awaySlice = 1024

// put has a session, which ended for cause, stay a member of topics for a while, or returns false if there is no room.
func (l *awayList) put(sh *shard, m pubsub.Member, id uint64, topics []string, cause string) bool {
	hub := sh.hub
	if l.topics+len(topics) > hub.cfg.MaxNodeTopics/len(hub.shards) {
		return false
	}
	if l.at == nil {
		l.at = make(map[awayFrom]*away)
	}
	a := &away{id: id, member: m, topics: topics, cause: cause, due: time.Since(hub.born) + hub.cfg.PresenceGrace}
	l.list = append(l.list, a)
	l.topics += len(topics)
	for _, topic := range topics {
		if l.back(id, topic) { // of two connections
			sh.presence.count(topic, -1)
		}
		l.at[awayFrom{id, topic}] = a
	}
	if l.timer == nil {
		l.timer = sh.loop.After(hub.cfg.PresenceGrace, func() { l.leave(sh) })
	}
	return true
}

// back reports whether the session was away from topic on this loop, and is so no more.
func (l *awayList) back(id uint64, topic string) (was bool) {
	_, was = l.at[awayFrom{id, topic}]
	delete(l.at, awayFrom{id, topic})
	return was
}

// leftElsewhere has other loops no longer have an earlier connection of the session as a member of topic, which the session leaves. The broker
// heeds the later generation; one that has lost that it left would be told of the earlier one, and have it a member again.
func (s *Session) leftElsewhere(topic string) {
	sh, id, g := s.shard, s.id, s.generation
	now := sh.hub.now()
	if g == 0 || now.Sub(g.time(now)) > 2*sh.hub.cfg.PresenceGrace { // none of them is away any more
		return
	}
	for _, other := range sh.hub.shards {
		if other != sh {
			other.loop.Post(func() {
				p := other.presence
				if a := p.away.at[awayFrom{id, topic}]; a != nil && g.newer(generation(a.member.Generation)) {
					p.away.back(id, topic)
					p.count(topic, -1)
				}
			})
		}
	}
}

// stays are the topics that a is still a member of.
func (l *awayList) stays(a *away) func(yield func(topic string) bool) {
	return func(yield func(string) bool) {
		for _, topic := range a.topics {
			if l.at[awayFrom{a.id, topic}] == a && !yield(topic) {
				return
			}
		}
	}
}

// leave takes off those whose time is up.
func (l *awayList) leave(sh *shard) {
	l.timer = nil
	now, left := time.Since(sh.hub.born), 0
	for l.head < len(l.list) && l.list[l.head].due <= now && left < awaySlice {
		a := l.list[l.head]
		l.list[l.head] = nil
		l.head++
		for topic := range l.stays(a) {
			l.back(a.id, topic)
			sh.presence.count(topic, -1)
			c := pubsub.Change{Topic: topic, Member: a.member, Leave: true, Cause: a.cause}
			if !sh.hub.changes.put(memberChange{Change: c}) {
				sh.count.drops.Add(presenceQueueFull)
			}
		}
		left += 1 + len(a.topics)
		l.topics -= len(a.topics)
	}
	if l.head >= len(l.list)/2 { // so that no more are moved than have left
		l.list = slices.Delete(l.list, 0, l.head)
		l.head = 0
	}
	switch {
	case l.head == len(l.list):
		*l = awayList{}
	case left >= awaySlice:
		l.timer = sh.loop.After(0, func() { l.leave(sh) })
	default:
		l.timer = sh.loop.After(l.list[l.head].due-now, func() { l.leave(sh) })
	}
}
