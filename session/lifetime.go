package session

import (
	"iter"

	"wshub/engine"
	"wshub/pubsub"
)

// This file makes each session a member of a hidden topic, its user's or one of those of nobody, where the hub has a lifecycle: so the broker
// knows, and writes down, which sessions and users are there (pubsub.UserSessions). Which sessions these are follows from lists that the
// loops have anyway; of sessions without a user there is one more.

// nobodies are the sessions of a loop that have no user, by their hidden topic's partition.
type nobodies [256]map[*Session]struct{}

func (n *nobodies) add(s *Session) {
	part := &n[byte(s.id)]
	if *part == nil {
		*part = make(map[*Session]struct{})
	}
	(*part)[s] = struct{}{}
}

func (n *nobodies) remove(s *Session) {
	part := &n[byte(s.id)]
	if delete(*part, s); len(*part) == 0 {
		*part = nil // Go's maps give no memory back
	}
}

// hidden reports whether topic is one that sessions themselves are members of.
func hidden(topic string) bool { return topic[0] == 0 }

// life is the hidden topic of the session, "" where the hub has no lifecycle or has not opened the session yet.
func (s *Session) life() string {
	switch {
	case !s.shard.hub.cfg.Lifecycle || s.unopened():
		return ""
	case s.own == "":
		return pubsub.NobodySessions(byte(s.id))
	}
	return pubsub.UserSessions(s.user())
}

// alive is the session as a member of its hidden topic.
func (s *Session) alive() pubsub.Member {
	return pubsub.Member{Session: s.name(), User: s.user(), Generation: uint32(s.generation)}
}

func (s *Session) unopened() bool { return s.ext != nil && s.ext.unopened }

// delayOpening has the session be opened later: its client may first say that it is another one. It is called before the protocol opens the session.
func (s *Session) delayOpening() {
	if s.shard.hub.cfg.Lifecycle {
		s.extra().unopened = true
	}
}

// openDelayed opens the session, if that is still to be done. A session that ends before it, or is resumed as another one, was never opened.
func (s *Session) openDelayed() {
	if s.unopened() {
		s.ext.unopened = false
		s.beginLife()
		s.trim()
	}
}

// beginLife tells the broker that the session is there.
func (s *Session) beginLife() {
	topic := s.life()
	if topic == "" {
		return
	}
	if s.own == "" {
		s.shard.presence.nobodies.add(s)
	}
	s.shard.presence.away.back(s.id, topic)
	s.tellPresence(pubsub.Change{Topic: topic, Member: s.alive()}, nil)
}

// endLife tells it that the session, which bears another name from now on, is there under this one no more.
func (s *Session) endLife(cause string) {
	topic := s.life()
	if topic == "" {
		return
	}
	s.forgetLife()
	s.leftElsewhere(topic)
	s.tellPresence(pubsub.Change{Topic: topic, Member: s.alive(), Leave: true, Cause: cause}, nil)
}

func (s *Session) forgetLife() {
	if s.own == "" {
		s.shard.presence.nobodies.remove(s)
	}
}

// resumedCause is why a name ends whose session goes on under an earlier one.
const resumedCause = "resumed"

// endsAtOnce reports whether a session that ends for cause is gone at once, and not after a grace.
func endsAtOnce(cause *engine.Cause) bool {
	return cause == Disconnected || cause == Unidentified || cause == TokenExpired
}

// lives are the loop's sessions that are members of hidden topics of a partition.
func (sh *shard) lives(partition int) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for s := range sh.presence.nobodies[partition] {
			if !yield(s) {
				return
			}
		}
		for s := range sh.members.part(partition) {
			if s.life() != "" && !yield(s) {
				return
			}
		}
	}
}
