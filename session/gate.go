package session

import (
	"strconv"
	"strings"
	"time"
)

// This file is the gate: whether a session may do a thing is asked here, by the func that does it and in the
// moment when it takes effect, never by callers before.

// mayBegin says why the session can't begin to follow name.
func (s *Session) mayBegin(name string) Refusal {
	if r := s.mayFollow(name); !r.None() {
		return r
	}
	hub := s.shard.hub
	switch {
	case s.following(name) >= 0 || s.waitingFor(name) != nil:
		return Refusal{AlreadyFollows, "the session follows this topic already"}
	case s.topics() >= hub.cfg.MaxTopics && name != s.own: // nobody has to ask for the own topic, so nobody has to leave room for it
		return Refusal{TooManyTopics, "a session may follow " + strconv.Itoa(hub.cfg.MaxTopics) + " topics"}
	case s.shard.room() < 1:
		return Refusal{TooManyTopics, "the node has no room for more subscriptions"}
	}
	return Refusal{}
}

// mayFollow says why the session has no right to follow name.
func (s *Session) mayFollow(name string) Refusal {
	if name == s.own && name != "" {
		return Refusal{}
	}
	return s.passOver(name, s.permit(name, s.maySubscribe))
}

// mayRead says why the session has no right to read name's history.
func (s *Session) mayRead(name string) Refusal {
	if name == s.own && name != "" {
		return Refusal{}
	}
	return s.passOver(name, s.permit(name, s.mayReadHistory))
}

// mayKeep says why the session has no right any more to follow name, which it was told that it follows. A token's
// rights stay during the grace behind its end.
func (s *Session) mayKeep(name string) Refusal {
	if g := s.granted(); g.over(s.shard.hub.now) && s.maySubscribe(name) {
		return Refusal{}
	}
	return s.mayFollow(name)
}

// maySee says why the session can't see who is in name.
func (s *Session) maySee(name string) Refusal {
	if err := validateTopic(name); err != nil {
		return Refusal{BadTopic, err.Error()}
	}
	if !s.shard.hub.HasPresence(name) {
		return Refusal{NoPresence, "the topic has no presence"}
	}
	return s.permit(name, s.maySeePresence)
}

// mayPublishTo says why the session can't publish to name.
func (s *Session) mayPublishTo(name string) Refusal { return s.permit(name, s.mayPublish) }

// mayPublishTo says why the client of a post can't publish to name.
func (p *Post) mayPublishTo(name string) Refusal {
	own, rights := "", p.shard.hub.cfg.Rights
	if p.user != "" {
		own = userPrefix + p.user
	}
	if p.grant != nil {
		rights = p.grant.rights
	}
	hub := p.shard.hub
	return permit(name, p.grant, hub.now, own, hub.outside("", false, name), func(name string) bool { return rights.MayPublish(p.user, name) })
}

// permit says why the session's rights do not cover name.
func (s *Session) permit(name string, allows func(string) bool) Refusal {
	hub := s.shard.hub
	return permit(name, s.granted(), hub.now, s.own, s.outside(name), allows)
}

// permit says why rights do not cover name: those of a token that says g, and of a user whose topic is own. outside says that
// name is on the other side of a wall. Behind its end a token gives nothing new: the grace that follows is for sending another one.
func permit(name string, g *grant, now func() time.Time, own string, outside bool, allows func(string) bool) Refusal {
	if err := validateTopic(name); err != nil {
		return Refusal{BadTopic, err.Error()}
	}
	switch {
	case g.over(now):
		return Refusal{ExpiredToken, "the token has expired: send auth with another one"}
	case foreign(name, own), outside:
		return refusedTopic
	case allows(name):
		return Refusal{}
	}
	return refusedTopic
}

// over reports whether g's token has expired. It reads the clock only for a token that ends.
func (g *grant) over(now func() time.Time) bool {
	return g != nil && g.expires != 0 && now().UnixMilli() >= g.expires
}

// MaySubscribe reports whether the session has a right to follow topic.
func (s *Session) MaySubscribe(topic string) bool { return s.mayFollow(topic).None() }

// MayReadHistory reports whether the session has a right to read topic's history.
func (s *Session) MayReadHistory(topic string) bool { return s.mayRead(topic).None() }

// maySubscribe, mayReadHistory and mayPublish tell whether the session's token, or what holds without one, allows it; and
// to follow and to read, whether a pass does. A session that is enrolled may do everything, and one behind a wall is told
// by its protocol.
func (s *Session) maySubscribe(topic string) bool {
	return s.hasPass(topic) || s.wall() != "" || s.rights().MaySubscribe(s.user(), topic)
}

func (s *Session) mayReadHistory(topic string) bool {
	return s.hasPass(topic) || s.wall() != "" || s.rights().MayReadHistory(s.user(), topic)
}

// maySeePresence tells it by the claim presence, else by what holds without one; caps allow it besides.
func (s *Session) maySeePresence(topic string) bool {
	if s.wall() != "" || s.Persona(topic) != nil {
		return true
	}
	g, user := s.granted(), s.user()
	if g != nil && g.rights.MaySeePresence(user, topic) {
		return true
	}
	return (g == nil || !g.rights.SaysPresence()) && s.shard.hub.cfg.PresenceRights.MaySeePresence(user, topic)
}

func (s *Session) mayPublish(topic string) bool {
	return s.wall() != "" || s.Persona(topic) != nil || s.rights().MayPublish(s.user(), topic)
}

// room is how many more subscriptions the loop's share of MaxNodeTopics allows.
func (sh *shard) room() int { return sh.hub.cfg.MaxNodeTopics/len(sh.hub.shards) - sh.subs }

// foreign reports whether name is another user's own topic, which clients may neither follow nor publish to.
func foreign(name, own string) bool { return strings.HasPrefix(name, userPrefix) && name != own }
