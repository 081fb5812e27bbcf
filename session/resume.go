package session

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"wshub/session/reasons"
	"wshub/session/token"
)

// Resume makes the session the one that an earlier connection, here or at another node, was, by its resume token, and
// follows the topics of that. Either refused is called at once, or report as by SubscribeAll; neither if the client has
// hung up: it may be back already.
func (s *Session) Resume(ticket string, wanted []Wanted, refused func(Refusal), report func([]Outcome)) {
	hub := s.shard.hub
	if s.generation != 0 || s.followsMoreThanOwn() {
		refused(Refusal{BadRequest, "resume comes before everything else, and once"})
		return
	}
	if s.conn.HungUp() { // the client may be back already, on a connection that this one must not replace
		return
	}
	s.trace("resume", "", nil)
	opened, r := s.openTicket(ticket)
	if r.None() && len(wanted) > hub.cfg.MaxTopics {
		r = Refusal{TooManyTopics, "a session may follow " + strconv.Itoa(hub.cfg.MaxTopics) + " topics"}
	}
	if !r.None() {
		s.note(reasons.Token, "resume", "", func() string { return s.explainResume(ticket, opened, r) })
		refused(r)
		return
	}
	for _, w := range wanted {
		if s.own != "" && w.Topic == s.own {
			s.letGoOwn()
		}
	}
	switch {
	case opened.Session != s.id:
		s.takeOver(opened)
	case s.unopened(): // its own token, with which hub.js asks for its first topics: it is nobody else
		s.openDelayed()
	}
	s.SubscribeAll(wanted, report)
}

// followsMoreThanOwn reports whether the session follows, or is about to follow, any topic but its user's own.
func (s *Session) followsMoreThanOwn() bool {
	n := s.topics()
	if s.own != "" && (s.following(s.own) >= 0 || s.waitingFor(s.own) != nil) {
		n--
	}
	return n > 0
}

// openTicket opens a resume token.
func (s *Session) openTicket(raw string) (token.Resume, Refusal) {
	hub := s.shard.hub
	sealer := hub.sealer.Load()
	if sealer == nil {
		return token.Resume{}, Refusal{Unavailable, "the node has no resume key yet"}
	}
	ticket, err := sealer.Open(raw)
	switch {
	case err != nil:
		return ticket, Refusal{BadToken, "the resume token is not valid here, or too old"}
	case ticket.User != s.user(), hub.resumeRevoked(ticket):
		return ticket, Refusal{Forbidden, "the resume token is not for this session"}
	case s.granted().over(hub.now):
		return ticket, Refusal{ExpiredToken, "the token has expired: send auth with another one"}
	}
	return ticket, Refusal{}
}

// explainResume is the exact rule that a refused resume is about.
func (s *Session) explainResume(raw string, ticket token.Resume, r Refusal) string {
	if r.Code != BadToken && r.Code != Forbidden { // among them that there is no sealer yet
		return "resume: " + r.Text
	}
	_, err := s.shard.hub.sealer.Load().Open(raw)
	switch {
	case errors.Is(err, token.ErrUnknownKey):
		return "resume: the token is sealed by a key that is not among the resume keys here"
	case err != nil:
		return "resume: " + err.Error()
	case ticket.User != s.user():
		return fmt.Sprintf("resume: the token is of user %.255q", ticket.User)
	}
	return "resume: a backend has revoked it (/api/revoke)"
}

// Ticket is the session's resume token: with it, any node takes the session up again. "" while the node has no key.
func (s *Session) Ticket() string {
	hub := s.shard.hub
	sealer := hub.sealer.Load()
	if sealer == nil {
		return ""
	}
	ticket := token.Resume{Session: s.id, User: s.user(), Node: hub.cfg.Node, Generation: uint64(s.generation)}
	if g := s.granted(); g != nil && g.issued != 0 {
		ticket.Granted = time.UnixMicro(g.issued)
	}
	return sealer.Seal(ticket)
}
