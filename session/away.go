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
	latest map[uint64]*away // by session
	topics int              // of all
	timer  *engine.Timer
}

// away is a session that stays a member of topics until due.
type away struct {
	id      uint64
	member  pubsub.Member
	topics  []string
	due     time.Duration // the hub's age
	earlier *away         // of the same session
}

// awaySlice bounds the topics that are left in one turn of the loop.
const awaySlice = 1024

// put has a session stay a member of topics for a while, or returns false if there is no room.
func (l *awayList) put(sh *shard, m pubsub.Member, id uint64, topics []string) bool {
	hub := sh.hub
	if l.topics+len(topics) > hub.cfg.MaxNodeTopics/len(hub.shards) {
		return false
	}
	if l.latest == nil {
		l.latest = make(map[uint64]*away)
	}
	a := &away{id: id, member: m, topics: topics, due: time.Since(hub.born) + hub.cfg.PresenceGrace, earlier: l.latest[id]}
	l.latest[id] = a
	l.list = append(l.list, a)
	l.topics += len(topics)
	if l.timer == nil {
		l.timer = sh.loop.After(hub.cfg.PresenceGrace, func() { l.leave(sh) })
	}
	return true
}

// back reports whether the session was away from topic on this loop, and is so no more.
func (l *awayList) back(sh *shard, id uint64, topic string) (was bool) {
	for a := l.latest[id]; a != nil; a = a.earlier {
		if i := slices.Index(a.topics, topic); i >= 0 {
			a.topics = slices.Delete(a.topics, i, i+1)
			l.topics--
			if was { // of two connections
				sh.presence.members.Add(-1)
			}
			was = true
		}
	}
	return was
}

// leave takes off those whose time is up.
func (l *awayList) leave(sh *shard) {
	l.timer = nil
	now, left := time.Since(sh.hub.born), 0
	for l.head < len(l.list) && l.list[l.head].due <= now && left < awaySlice {
		a := l.list[l.head]
		l.list[l.head] = nil
		l.head++
		l.forget(a)
		for _, topic := range a.topics {
			c := pubsub.Change{Topic: topic, Member: a.member, Leave: true}
			if !sh.hub.changes.put(memberChange{Change: c}) {
				sh.count.drops.Add(presenceQueueFull)
			}
		}
		left += 1 + len(a.topics)
		l.topics -= len(a.topics)
		sh.presence.members.Add(int64(-len(a.topics)))
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

// forget takes a, the earliest of its session, out of the table.
func (l *awayList) forget(a *away) {
	if l.latest[a.id] == a {
		delete(l.latest, a.id)
		return
	}
	for b := l.latest[a.id]; b != nil; b = b.earlier {
		if b.earlier == a {
			b.earlier = nil
		}
	}
}
