package session

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"wshub/engine"
	"wshub/pubsub"
)

// This file makes the sessions that follow a topic with presence its members. A member costs nothing here but its
// subscription: who is one follows from the lists of followers. Changes go to the broker by one goroutine (changes.go);
// who disconnects stays a member for a while (away.go); members.go lists all for the broker's repair.

// presence is what a loop has where the hub has topics with presence.
type presence struct {
	topics  [surveyParts]map[*topic]struct{} // those with presence, by partition
	away    awayList
	watches map[*topic]*watch
	// nobodies are where the hub has a lifecycle.
	nobodies *nobodies

	// Shared.
	watching atomic.Int32 // how many watches there are
	members  atomic.Int64
}

func newPresence(h *Hub) *presence {
	if h.cfg.Presence == nil && !h.cfg.Lifecycle {
		return nil
	}
	p := &presence{watches: make(map[*topic]*watch)}
	if h.cfg.Lifecycle {
		p.nobodies = &nobodies{}
	}
	return p
}

// count counts memberships of a topic, hidden ones not.
func (p *presence) count(topic string, more int64) {
	if !hidden(topic) {
		p.members.Add(more)
	}
}

// add takes t in, which is new, if it has a presence.
func (p *presence) add(t *topic, has func(string) bool) {
	if p == nil || has == nil || !has(t.name) {
		return
	}
	t.present = true
	part := &p.topics[pubsub.Partition(t.name)]
	if *part == nil {
		*part = make(map[*topic]struct{})
	}
	(*part)[t] = struct{}{}
}

// remove forgets t.
func (p *presence) remove(t *topic) {
	if !t.present {
		return
	}
	part := &p.topics[pubsub.Partition(t.name)]
	if delete(*part, t); len(*part) == 0 {
		*part = nil // Go's maps give no memory back
	}
}

// HasPresence reports whether topic has a presence.
func (h *Hub) HasPresence(topic string) bool { return h.cfg.Presence != nil && h.cfg.Presence(topic) }

// member is the session as others see it.
func (s *Session) member() pubsub.Member {
	return pubsub.Member{Session: s.name(), User: s.user(), Info: s.info(), Generation: uint32(s.generation)}
}

// info is what the session's token says of its user, for others to see.
func (s *Session) info() json.RawMessage {
	if s.ext == nil || s.ext.rare == nil {
		return nil
	}
	return s.ext.rare.info
}

// setInfo keeps what a token says of the session's user, where others can see it. It reports whether that is something new.
func (s *Session) setInfo(info json.RawMessage) (changed bool) {
	if s.shard.hub.cfg.Presence == nil || string(info) == string(s.info()) {
		return false
	}
	s.rare().info = info
	s.dropIdleRarities()
	return true
}

// enter makes the session a member of t, if t has a presence. done, where not nil, is called on the loop when the broker
// was told, or could not be.
func (s *Session) enter(t *topic, done func(error)) {
	if !t.present {
		return
	}
	sh := s.shard
	if !sh.presence.away.back(s.id, t.name) {
		sh.presence.members.Add(1)
	}
	s.tellPresence(pubsub.Change{Topic: t.name, Member: s.memberIn(t.name)}, done)
}

// leave ends that.
func (s *Session) leave(t *topic) {
	if !t.present {
		return
	}
	s.shard.presence.members.Add(-1)
	s.leftElsewhere(t.name)
	s.tellPresence(pubsub.Change{Topic: t.name, Member: s.member(), Leave: true}, nil)
}

// tellPresence has the broker make a change, now or by a repair.
func (s *Session) tellPresence(c pubsub.Change, done func(error)) {
	sh := s.shard
	if done != nil {
		told := done
		done = func(err error) { sh.loop.Post(func() { told(err) }) }
	}
	if !sh.hub.changes.put(memberChange{c, done}) {
		s.drop(presenceQueueFull, c.Topic, "too many changes of presence wait for the broker; it is repaired later")
	}
}

// presenceQueueFull is the drop of a change of presence, which a repair makes up for.
const presenceQueueFull = "presence_queue_full"

// memberOf are the topics that the session is a member of.
func (s *Session) memberOf() (list []*topic) {
	if s.shard.presence == nil {
		return nil
	}
	for _, sub := range s.subs {
		if sub.topic.present {
			list = append(list, sub.topic)
		}
	}
	if w := s.busy(); w != nil {
		for _, sub := range w.pending {
			if sub.entered {
				list = append(list, sub.t)
			}
		}
	}
	return list
}

// reenter tells the broker of the session anew wherever it is a member.
func (s *Session) reenter() {
	for _, t := range s.memberOf() {
		s.tellPresence(pubsub.Change{Topic: t.name, Member: s.memberIn(t.name)}, nil)
	}
}

// goAway is called when the session ends for cause: it stays a member for a while, unless a backend ended it, or its right
// has ended.
func (s *Session) goAway(cause *engine.Cause) {
	if s.shard.presence == nil {
		return
	}
	atOnce := endsAtOnce(cause)
	var names []string
	for _, t := range s.memberOf() {
		if atOnce {
			s.leave(t)
		} else {
			names = append(names, t.name)
		}
	}
	if w := s.busy(); w != nil {
		for _, sub := range w.pending {
			sub.entered = false // done with
		}
	}
	if life := s.life(); life != "" && atOnce {
		s.endLife(cause.Name)
	} else if life != "" {
		s.forgetLife()
		names = append(names, life)
	}
	s.linger(names, cause.Name)
}

// linger has the session, which leaves topics for cause, stay a member of them for a while.
func (s *Session) linger(topics []string, cause string) {
	var same []string
	for _, name := range topics {
		if s.Persona(name) == nil {
			same = append(same, name)
		} else {
			s.lingerAs(s.memberIn(name), []string{name}, cause)
		}
	}
	if len(same) > 0 {
		s.lingerAs(s.member(), same, cause)
	}
}

// lingerAs is linger for topics in which others see the session as m.
func (s *Session) lingerAs(m pubsub.Member, topics []string, cause string) {
	sh := s.shard
	if sh.presence.away.put(sh, m, s.id, topics, cause) {
		return
	}
	s.drop("presence_grace_full", topics[0], "too many members that have disconnected are waited for")
	for _, name := range topics {
		sh.presence.count(name, -1)
		s.leftElsewhere(name)
		s.tellPresence(pubsub.Change{Topic: name, Member: s.member(), Leave: true, Cause: cause}, nil)
	}
}

// Presence reads who is in topic: see pubsub.Broker. It is for backends, which may see all.
func (h *Hub) Presence(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error) {
	return h.readPresence(ctx, topic, after, limit, 0)
}

// readPresence reads a page of limit members at most, of fewer where these have more than maxBytes together; 0 is no bound.
func (h *Hub) readPresence(ctx context.Context, topic, after string, limit, maxBytes int) (pubsub.Presence, error) {
	for {
		p, err := h.broker.ReadPresence(ctx, topic, after, limit)
		size := membersSize(p.Members)
		if err != nil || maxBytes == 0 || size <= maxBytes || limit <= 1 {
			return p, err
		}
		limit = max(1, min(limit-1, int(int64(len(p.Members))*int64(maxBytes)/int64(size))))
	}
}

// membersSize is about how many bytes members have as JSON.
func membersSize(members []pubsub.Member) (size int) {
	for i := range members {
		m := &members[i]
		size += 64 + len(m.Session) + len(m.User) + len(m.Info)
	}
	return size
}
