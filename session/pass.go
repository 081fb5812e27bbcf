package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"wshub/engine"
	"wshub/session/reasons"
	"wshub/session/token"
)

// pass is a right of its own to follow one topic, and to read its history.
type pass struct {
	topic string
	until int64    // in Unix ms; 0: no end
	as    *Persona // nil unless the session is enrolled
}

func (p *pass) over(now time.Time) bool { return p.until != 0 && now.UnixMilli() >= p.until }

// rarities are what few sessions have.
type rarities struct {
	info   json.RawMessage // that others see of its user; nil without
	passes []pass
	timer  *engine.Timer // runs until the first pass ends, or its expiry is compared again
}

// Allow gives the session a right of its own to follow topic, whatever its token says, for as long as it follows, is about
// to, or has not begun to; and not beyond until, zero for no end. Then it leaves the topic, unless its token allows it,
// and Protocol.Left says so: whoever wants to give a grace adds it to until. Allow again replaces until. Another
// user's own topic is Forbidden, an end that has come ExpiredToken, and more than MaxTopics such rights TooManyTopics.
func (s *Session) Allow(topic string, until time.Time) Refusal {
	hub := s.shard.hub
	p := pass{topic: topic, until: unixMilli(until)}
	if err := validateTopic(topic); err != nil {
		return Refusal{BadTopic, err.Error()}
	}
	switch {
	case foreign(topic, s.own), s.outside(topic):
		return refusedTopic
	case p.over(hub.now()):
		return expiredPass
	case !s.Open():
		return Refusal{NotSubscribed, "the session has ended"}
	}
	if had := s.pass(topic); had != nil {
		had.until = p.until
	} else {
		r := s.rare()
		if len(r.passes) == hub.cfg.MaxTopics {
			return Refusal{TooManyTopics, "a session may have a right of its own to " + strconv.Itoa(hub.cfg.MaxTopics) + " topics"}
		}
		p.topic = strings.Clone(topic)
		r.passes = append(r.passes, p)
	}
	s.watchPasses()
	return Refusal{}
}

// AllowBy is Allow for topic by a subscription token of the session's user, until AuthGrace after its end. reply is called
// exactly once, now or later, unless the session ends: with what the token says, if the right was given. ExpiredToken:
// another token is wanted; BadToken: it is not valid, revoked, another user's or for another topic; Unavailable and Busy:
// the same one may be good later.
func (s *Session) AllowBy(topic, raw string, reply func(token.SubscriptionClaims, Refusal)) {
	v := s.shard.hub.cfg.Verifier
	if v == nil {
		reply(token.SubscriptionClaims{}, Refusal{BadRequest, "this hub has no keys: it takes no tokens"})
		return
	}
	claims, err := v.VerifySubscription(raw, s.user())
	if !errors.Is(err, token.ErrNeedsFetch) {
		s.allowBy(topic, claims, err, reply)
		return
	}
	if !v.VerifySubscriptionLater(raw, s.user(), func(claims token.SubscriptionClaims, err error) {
		s.shard.loop.Post(func() { s.allowBy(topic, claims, err, reply) })
	}) {
		s.drop("key_wait_full", topic, "too many tokens wait for their key")
		reply(token.SubscriptionClaims{}, Refusal{Busy, "too many tokens wait for their key"})
	}
}

func (s *Session) allowBy(topic string, claims token.SubscriptionClaims, err error, reply func(token.SubscriptionClaims, Refusal)) {
	hub := s.shard.hub
	if !s.Open() {
		return
	}
	r := Refusal{}
	if err != nil {
		hub.noteToken(s.conn, s.name(), s.user(), "the token for a topic", err)
	}
	switch {
	case errors.Is(err, token.ErrUnavailable):
		r = Refusal{Unavailable, err.Error()}
	case errors.Is(err, token.ErrExpired):
		r = expiredPass
	case err != nil:
		r = Refusal{BadToken, err.Error()}
	case claims.Channel != topic:
		r = Refusal{BadToken, "the token is for another topic"}
		s.note(reasons.Token, "channel", topic, func() string { return fmt.Sprintf("the token for a topic is for %.255q", claims.Channel) })
	case hub.revocations.refuses(Target{User: claims.User}.subject(), unixMicro(claims.IssuedAt), claims.Fingerprint, hub.now()):
		r = Refusal{BadToken, errRevoked.Error()}
		hub.noteToken(s.conn, s.name(), s.user(), "the token for a topic", errRevoked)
	default:
		hub.logNotes(claims.Notes)
		until := claims.Expires
		if !until.IsZero() {
			until = until.Add(hub.cfg.AuthGrace)
		}
		r = s.Allow(topic, until)
	}
	if !r.None() {
		claims = token.SubscriptionClaims{}
	}
	reply(claims, r)
}

var (
	refusedTopic = Refusal{Forbidden, "this topic is not for this session"}
	expiredPass  = Refusal{ExpiredToken, "the token for this topic has expired"}
)

// rare returns the session's rarities, made if there are none.
func (s *Session) rare() *rarities {
	e := s.extra()
	if e.rare == nil {
		e.rare = &rarities{}
	}
	return e.rare
}

// pass returns the session's pass for topic, which may be over, or nil.
func (s *Session) pass(topic string) *pass {
	if s.ext == nil || s.ext.rare == nil {
		return nil
	}
	passes := s.ext.rare.passes
	if i := slices.IndexFunc(passes, func(p pass) bool { return p.topic == topic }); i >= 0 {
		return &passes[i]
	}
	return nil
}

// hasPass reports whether the session has a pass for topic that holds.
func (s *Session) hasPass(topic string) bool {
	p := s.pass(topic)
	return p != nil && !p.over(s.shard.hub.now())
}

// passOver says that the session's pass for topic is over, where r says that the session has no right to it.
func (s *Session) passOver(topic string, r Refusal) Refusal {
	if p := s.pass(topic); r.Code == Forbidden && p != nil && p.over(s.shard.hub.now()) {
		return expiredPass
	}
	return r
}

// dropPass takes the session's pass for topic away, if it has one: the topic is not followed any more.
func (s *Session) dropPass(topic string) {
	if s.pass(topic) == nil {
		return
	}
	r := s.ext.rare
	r.passes = slices.DeleteFunc(r.passes, func(p pass) bool { return p.topic == topic })
	if len(r.passes) == 0 {
		s.dropPasses()
		s.trim()
	}
}

// dropPasses takes all passes away.
func (s *Session) dropPasses() {
	if s.ext != nil && s.ext.rare != nil {
		r := s.ext.rare
		s.shard.loop.Stop(r.timer)
		r.passes, r.timer = nil, nil
		s.dropIdleRarities()
	}
}

// dropIdleRarities lets go of rarities that are none.
func (s *Session) dropIdleRarities() {
	if r := s.ext.rare; r != nil && r.info == nil && len(r.passes) == 0 {
		s.ext.rare = nil
	}
}

// watchPasses waits for the first pass to end.
func (s *Session) watchPasses() {
	r := s.ext.rare
	s.shard.loop.Stop(r.timer)
	r.timer = nil
	first := int64(0)
	for _, p := range r.passes {
		if p.until != 0 && (first == 0 || p.until < first) {
			first = p.until
		}
	}
	if first != 0 {
		left := time.UnixMilli(first).Sub(s.shard.hub.now())
		r.timer = s.shard.loop.After(min(left, expiryPoll), s.endPasses)
	}
}

// endPasses leaves the topics whose passes are over.
func (s *Session) endPasses() {
	now := s.shard.hub.now()
	over := func(p pass) bool { return p.over(now) }
	for { // one by one: whoever is told may end the session, or ask for a pass
		if s.ext == nil || s.ext.rare == nil {
			return
		}
		i := slices.IndexFunc(s.ext.rare.passes, over)
		if i < 0 {
			break
		}
		topic := s.ext.rare.passes[i].topic
		r := s.mayKeep(topic)
		s.dropPass(topic)
		if !r.None() {
			s.lose(topic, r)
		}
	}
	s.watchPasses()
}

// lose ends what follows topic, or is about to, and says why.
func (s *Session) lose(topic string, why Refusal) {
	if sub := s.waitingFor(topic); sub != nil {
		sub.end(why)
	} else if i := s.following(topic); i >= 0 {
		s.unfollow(i)
		s.protocol().Left(s, topic, s.denied(actFollow, topic, why))
	}
}
