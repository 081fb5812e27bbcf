package session

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"wshub/pubsub"
)

// This file lets clients see who is in a topic: by a request, and by watching it while they follow.

// attend makes the session a member, and then has the presence read, which its answer carries.
func (sub *subscribing) attend(o Outcome) {
	s := sub.s
	if r := s.denied(actWatch, sub.t.name, s.maySee(sub.t.name)); !r.None() {
		sub.end(r)
		return
	}
	if d, ok := sub.owner.(decliner); ok && d.declines(o) {
		sub.end(Refusal{NotSubscribed, "the subscription was declined"})
		return
	}
	sub.stage, sub.outcome = attending, &o
	sub.entered = true
	s.enter(sub.t, func(err error) {
		switch {
		case sub.stage != attending:
		case err != nil:
			sub.end(presenceRefusal(err))
		default:
			s.shard.watch(sub.t).ask(sub)
		}
	})
}

// attended takes the presence that was read, the session in it.
func (sub *subscribing) attended(p *pubsub.Presence) {
	if sub.stage != attending {
		return
	}
	s, name := sub.s, sub.t.name
	r := s.mayFollow(name)
	if r.None() {
		r = s.maySee(name)
	}
	if !r.None() { // another token came meanwhile
		sub.end(r)
		return
	}
	o := *sub.outcome
	sub.outcome, o.Presence = nil, p
	sub.report(o)
}

// unattend is called when sub ends.
func (sub *subscribing) unattend() {
	if sub.t.watched {
		sub.s.shard.presence.watches[sub.t].forsake(sub)
		sub.s.unwatch(sub.t) // which Watch may have begun
	}
	if sub.entered {
		sub.entered = false
		sub.s.leave(sub.t)
	}
}

// Watch has the session, which follows topics or is about to, watch their presence from now on: it is told the whole of each by
// Words.Presence, once it was read, and then of all changes. A topic that it does not follow is passed over; for one whose
// presence it can't see there is Protocol.Unwatched.
func (s *Session) Watch(topics []string) {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(topics))) { // each costs the broker a change
		t := s.shard.topics.get(name)
		if t == nil || !s.Follows(name) || s.attends(t) {
			continue
		}
		if r := s.denied(actWatch, name, s.maySee(name)); !r.None() {
			s.protocol().Unwatched(s, name, r)
			continue
		}
		if !s.Open() {
			return
		}
		w := s.shard.watch(t)
		w.entering[s] = struct{}{}
		s.enterAgain(t, func(error) { // the whole is read in any case
			if _, waits := w.entering[s]; waits { // else it has left, or may not any more
				delete(w.entering, s)
				w.join(s)
			}
		})
	}
}

// WatchChanges has the session, which follows topic or is about to, told of changes of its presence from now on, by Words.Moved, and
// never of the whole. A session that may not see them is not told so.
func (s *Session) WatchChanges(topic string) {
	if t := s.shard.topics.get(topic); t != nil && s.Open() && s.Follows(topic) && s.maySee(topic).None() {
		s.shard.watch(t).who[s] = struct{}{}
	}
}

// enterAgain makes the session a member of t, which it follows or is about to, and calls done behind that.
func (s *Session) enterAgain(t *topic, done func(error)) {
	if sub := s.waitingFor(t.name); sub != nil && !sub.entered {
		sub.entered = true
		s.enter(t, done)
		return
	}
	s.tellPresence(pubsub.Change{Topic: t.name, Member: s.memberIn(t.name)}, done)
}

// unwatchForbidden ends the watching of topics whose presence the session may see no more.
func (s *Session) unwatchForbidden() {
	var ended []*topic
	for _, sub := range s.subs {
		if s.attends(sub.topic) && !s.maySee(sub.topic.name).None() {
			ended = append(ended, sub.topic)
		}
	}
	if w := s.busy(); w != nil {
		for _, sub := range w.pending {
			if sub.reported && s.attends(sub.t) && !s.maySee(sub.t.name).None() {
				ended = append(ended, sub.t)
			}
		}
	}
	for _, t := range ended {
		if s.Open() {
			s.unwatch(t)
			s.protocol().Unwatched(s, t.name, s.denied(actWatch, t.name, s.maySee(t.name)))
		}
	}
}

// watchAnew has the session, if it watches t, told the whole again: it has lost news.
func (s *Session) watchAnew(t *topic) {
	if s.watches(t) {
		w := s.shard.presence.watches[t]
		delete(w.who, s)
		w.join(s)
	}
}

// attends reports whether the session watches t, or is about to.
func (s *Session) attends(t *topic) bool {
	if !t.watched {
		return false
	}
	w := s.shard.presence.watches[t]
	for _, group := range []map[*Session]struct{}{w.who, w.joining, w.joined, w.entering} {
		if _, ok := group[s]; ok {
			return true
		}
	}
	return false
}

const (
	// defaultPage is how many members a page of a presence has unless the client says so, maxPage how many at most.
	defaultPage, maxPage = 100, pubsub.MaxPresencePage
	// pageCharge members of a page, behind the first ones, cost as much as a message more.
	pageCharge = 100
)

// Presence reads a page of who is in topic, behind the page whose Next after is; limit 0 is 100 members. A page has fewer where
// these are long. reply is called exactly once, now or later, unless the session ends: with what was read, if the session
// still may see it then.
func (s *Session) Presence(topic, after string, limit int, reply func(pubsub.Presence, Refusal)) {
	if limit == 0 {
		limit = defaultPage
	}
	if limit < 0 || limit > maxPage {
		reply(pubsub.Presence{}, Refusal{BadRequest, "limit: want a whole number from 1 to " + strconv.Itoa(maxPage)})
		return
	}
	s.readPresence(topic, after, limit, reply)
}

// PresenceStats reads how many are in topic: Presence without members.
func (s *Session) PresenceStats(topic string, reply func(pubsub.Presence, Refusal)) {
	s.readPresence(topic, "", 0, reply)
}

func (s *Session) readPresence(topic, after string, limit int, reply func(pubsub.Presence, Refusal)) {
	hub := s.shard.hub
	s.trace("presence", topic, nil)
	if r := s.maySee(topic); !r.None() {
		reply(pubsub.Presence{}, s.denied(actWatch, topic, r))
		return
	}
	if extra := (limit - 1) / pageCharge; extra > 0 && !s.Charge(extra) {
		reply(pubsub.Presence{}, Refusal{RateLimited, "too many messages; a page counts as one for each 100 members"})
		return
	}
	if w := s.busy(); w != nil && len(w.reads) >= maxHistories {
		s.drop("history_queue_full", topic, "the session has too many requests for histories and presences")
		reply(pubsub.Presence{}, Refusal{Busy, "too many requests of this session wait"})
		return
	}
	found := &pubsub.Presence{}
	s.queueRead(&read{topic: topic, call: func(ctx context.Context) (err error) {
		*found, err = hub.readPresence(ctx, topic, after, limit, hub.maxChunk)
		return err
	}, done: func(_ pubsub.Replay, err error) {
		switch r := s.maySee(topic); {
		case err != nil:
			reply(pubsub.Presence{}, presenceRefusal(err))
		case !r.None():
			reply(pubsub.Presence{}, s.denied(actWatch, topic, r))
		default:
			reply(*found, Refusal{})
		}
	}})
}

// presenceRefusal is the client's answer for a presence that can't be read.
func presenceRefusal(err error) Refusal {
	switch {
	case errors.Is(err, errCrowded), errors.Is(err, errCrowdedPresence):
		return Refusal{Busy, "too much to do; nothing was read"}
	case errors.Is(err, pubsub.ErrRefused):
		return Refusal{Refused, "the broker refuses to read the presence"}
	case errors.Is(err, pubsub.ErrBadMember):
		return Refusal{BadRequest, "the session can't be a member: what others would see of it is too long, or malformed"}
	case errors.Is(err, pubsub.ErrNoPresence):
		return Refusal{NoPresence, "the topic has no presence"}
	case errors.Is(err, pubsub.ErrBadPage):
		return Refusal{BadRequest, "after: want the next of an answer about this topic"}
	}
	return Refusal{Unavailable, "the presence can't be read now"}
}
