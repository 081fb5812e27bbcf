package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"wshub/engine"
	"wshub/session/reasons"
	"wshub/session/token"
)

// grant is what a session's token says: what the session may do, and until when.
type grant struct {
	rights *token.Rights
	timer  *engine.Timer // runs until the token expires, then until the grace is over
	// Times are Unix ones; 64 bytes hold all.
	expires     int64  // in ms; 0: never
	issued      int64  // in µs, on the issuer's clock; 0: the token does not say
	accepted    int64  // in ms
	seen        uint64 // the version of the revocations that it was judged by
	fingerprint token.Fingerprint
}

func (g *grant) stop(loop *engine.Loop) {
	if g != nil {
		loop.Stop(g.timer)
	}
}

// errRevoked: the token was revoked after it was issued.
var errRevoked = errors.New("the token is revoked")

// grant makes a grant of a token's claims, or returns nil if the token is revoked.
func (h *Hub) grant(claims token.Claims) *grant {
	g := &grant{
		rights: claims.Rights.Or(h.cfg.Rights), fingerprint: claims.Fingerprint,
		expires: unixMilli(claims.Expires), issued: unixMicro(claims.IssuedAt), accepted: h.now().UnixMilli(),
		// Before it is judged: a revocation that comes in between is enforced on it.
		seen: h.revocations.version.Load(),
	}
	if h.revocations.refuses(Target{User: claims.User}.subject(), g.issued, g.fingerprint, h.now()) {
		return nil
	}
	return g
}

// logNotes logs what was left out of a token that is good.
func (h *Hub) logNotes(notes []string) {
	if len(notes) > 0 {
		h.log.Debug().Strs("notes", notes).Msg("claims of a token were left out")
	}
}

// granted is what the session's token says, nil without one.
func (s *Session) granted() *grant {
	if s.ext == nil {
		return nil
	}
	return s.ext.grant
}

// rights are what the session may do.
func (s *Session) rights() *token.Rights {
	if g := s.granted(); g != nil {
		return g.rights
	}
	return s.shard.hub.cfg.Rights
}

// expiryPoll is the longest time until a session compares its token's expiry with the clock again: tokens go by the
// wall clock, which may be set meanwhile, or go on while the machine is suspended, and timers do not. Of a million sessions some
// 3,300 look in a second.
const expiryPoll = 5 * time.Minute

// watchGrant waits for the session's token to expire.
func (s *Session) watchGrant() {
	g := s.granted()
	if g == nil || g.expires == 0 {
		return
	}
	left := time.UnixMilli(g.expires).Sub(s.shard.hub.now())
	if left <= 0 {
		s.expired()
		return
	}
	g.timer = s.shard.loop.After(min(left, expiryPoll), s.watchGrant)
}

// expired gives the client a grace to send another token, if it can.
func (s *Session) expired() {
	grace := s.protocol().Expired(s)
	if g := s.granted(); g != nil && grace > 0 {
		g.timer = s.shard.loop.After(grace, func() { s.conn.Close(TokenExpired) })
		return
	}
	s.conn.Close(TokenExpired)
}

// Expires is when the session's token expires, zero for never.
func (s *Session) Expires() time.Time {
	if g := s.granted(); g != nil && g.expires != 0 {
		return time.UnixMilli(g.expires)
	}
	return time.Time{}
}

// ExpiresIn is how long the session's token still holds. ends is false if it never expires, or if there is none.
func (s *Session) ExpiresIn() (left time.Duration, ends bool) {
	at := s.Expires()
	if at.IsZero() {
		return 0, false
	}
	return max(at.Sub(s.shard.hub.now()), 0), true
}

// Authenticate takes another token of the same user in place of the session's. One is checked at a time, so that the
// last one sent is the one that holds. reply is called exactly once, now or later, unless the session ends; what the new
// token does not cover is left behind it.
func (s *Session) Authenticate(raw string, reply func(Refusal)) {
	hub := s.shard.hub
	s.trace("auth", "", nil)
	switch {
	case hub.cfg.Verifier == nil:
		reply(Refusal{BadRequest, "this hub has no keys: it takes no tokens"})
		return
	case s.ext.authing:
		reply(Refusal{Busy, "another token is being checked"})
		return
	}
	claims, err := hub.cfg.Verifier.Verify(raw)
	if !errors.Is(err, token.ErrNeedsFetch) {
		s.authenticated(claims, err, reply)
		return
	}
	s.ext.authing = true
	if !hub.cfg.Verifier.VerifyLater(raw, func(claims token.Claims, err error) {
		s.shard.loop.Post(func() { s.authenticated(claims, err, reply) })
	}) {
		s.ext.authing = false
		s.drop("key_wait_full", "", "too many tokens wait for their key")
		reply(Refusal{Busy, "too many tokens wait for their key"})
	}
}

func (s *Session) authenticated(claims token.Claims, err error, reply func(Refusal)) {
	hub := s.shard.hub
	if s.conn.Peer() == nil {
		return
	}
	s.ext.authing = false
	if err != nil {
		hub.noteToken(s.conn, s.name(), s.user(), "auth", err)
	}
	switch {
	case errors.Is(err, token.ErrUnavailable):
		reply(Refusal{Unavailable, err.Error()})
		return
	case errors.Is(err, token.ErrExpired):
		reply(Refusal{ExpiredToken, err.Error()})
		return
	case err != nil:
		reply(Refusal{BadToken, err.Error()})
		return
	}
	g := hub.grant(claims)
	if g == nil || claims.User != s.user() {
		if g == nil {
			hub.noteToken(s.conn, s.name(), s.user(), "auth", errRevoked)
		} else {
			s.note(reasons.Token, "sub", "", func() string { return fmt.Sprintf("auth: the token is of user %.255q", claims.User) })
		}
		reply(Refusal{Forbidden, "the token is not for this session"})
		return
	}
	hub.logNotes(claims.Notes)
	s.ext.grant.stop(s.shard.loop)
	s.ext.grant = g
	s.watchGrant()
	if s.setInfo(claims.Info) {
		s.reenter()
	}
	reply(Refusal{})
	s.leaveForbidden()
	s.unwatchForbidden()
}

// leaveForbidden ends what the session follows, or is about to, and may not any more.
func (s *Session) leaveForbidden() {
	for i := len(s.subs) - 1; i >= 0 && i < len(s.subs); i-- {
		name := s.subs[i].topic.name
		if r := s.mayFollow(name); !r.None() {
			s.unfollow(i)
			s.protocol().Left(s, name, s.denied(actFollow, name, r))
		}
	}
	if w := s.busy(); w != nil {
		for _, sub := range slices.Clone(w.pending) {
			if r := s.mayFollow(sub.t.name); !r.None() {
				sub.end(r)
			}
		}
	}
}

// causeOf is why a connection ends whose token is not accepted.
func causeOf(err error) *engine.Cause {
	if errors.Is(err, token.ErrExpired) {
		return TokenExpired
	}
	return Unidentified
}
