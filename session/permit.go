package session

import (
	"errors"
	"time"

	"wshub/session/token"
)

// Permit takes a subscription token: with it the session has a right of its own to follow topic, until grace behind the
// token's end. reply is called exactly once, now or later, unless the session ends: with the token's end, zero for none,
// or with why it is not taken, ExpiredToken or BadToken for what is wrong with the token itself.
func (s *Session) Permit(raw, topic string, grace time.Duration, reply func(until time.Time, why Refusal)) {
	verifier := s.shard.hub.cfg.Verifier
	if verifier == nil {
		reply(time.Time{}, Refusal{BadRequest, "this hub has no keys: it takes no tokens"})
		return
	}
	claims, err := verifier.VerifySubscription(raw, s.user())
	if !errors.Is(err, token.ErrNeedsFetch) {
		s.permitted(claims, err, topic, grace, reply)
		return
	}
	if !verifier.VerifySubscriptionLater(raw, s.user(), func(claims token.SubscriptionClaims, err error) {
		s.shard.loop.Post(func() { s.permitted(claims, err, topic, grace, reply) })
	}) {
		s.shard.count.drops.Add("key_wait_full")
		reply(time.Time{}, Refusal{Busy, "too many tokens wait for their key"})
	}
}

func (s *Session) permitted(claims token.SubscriptionClaims, err error, topic string, grace time.Duration, reply func(time.Time, Refusal)) {
	hub := s.shard.hub
	if !s.Open() {
		return
	}
	switch {
	case errors.Is(err, token.ErrUnavailable):
		reply(time.Time{}, Refusal{Unavailable, err.Error()})
		return
	case errors.Is(err, token.ErrExpired):
		reply(time.Time{}, Refusal{ExpiredToken, err.Error()})
		return
	case err != nil:
		reply(time.Time{}, Refusal{BadToken, err.Error()})
		return
	case claims.Channel != topic:
		reply(time.Time{}, Refusal{BadToken, "the token is for another topic"})
		return
	case hub.revocations.refuses(Target{User: claims.User}.subject(), unixMicro(claims.IssuedAt), claims.Fingerprint, hub.now()):
		reply(time.Time{}, Refusal{BadToken, errRevoked.Error()})
		return
	}
	until := claims.Expires
	if !until.IsZero() {
		until = until.Add(grace)
	}
	r := s.Allow(topic, until)
	reply(claims.Expires, r)
}

// Follows tells whether the session follows topic, or is about to.
func (s *Session) Follows(topic string) bool {
	return s.following(topic) >= 0 || s.waitingFor(topic) != nil
}
