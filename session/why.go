package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
	"wshub/session/reasons"
	"wshub/session/token"
)

// This file logs for operators: why a client was refused, cut, or lost something, and all that happens to the
// users who are traced.

// Reasons are the last reasons for which clients were refused, cut, or lost something.
func (h *Hub) Reasons() *reasons.Log { return h.reasons }

// Refused notes a handshake that the engine has refused: it is the server's OnRefused.
func (h *Hub) Refused(c *engine.Conn, r *engine.Refusal) {
	h.noteRefusal(c, "", r.Name, r)
}

// note keeps a reason. text puts it into words where it is wanted.
func (h *Hub) note(c *engine.Conn, r reasons.Reason, text func() string) {
	traced := h.traces(r.User)
	others, wanted := h.reasons.Wants(r.Kind, r.Rule)
	if !wanted && !traced {
		return
	}
	r.Others, r.Text = others, text()
	if c != nil {
		r.Addr = addr(c)
	}
	if wanted {
		h.reasons.Add(r)
	}
	if traced {
		h.traceLine(r.User, string(r.Kind), func(e *zerolog.Event) {
			e.Str("session", r.Session).Str("addr", r.Addr).Str("topic", r.Topic).Str("rule", r.Rule).Str("reason", r.Text)
		})
	}
}

// addr is the client's address, and its port where that is the socket's.
func addr(c *engine.Conn) string {
	switch at := c.RemoteAddr(); {
	case !at.IsValid():
		return ""
	case at.Port() == 0:
		return at.Addr().String()
	default:
		return at.String()
	}
}

// static is a text that needs no making.
func static(text string) func() string { return func() string { return text } }

// noteRefusal notes a handshake that is refused. rule is "" for the status' own.
func (h *Hub) noteRefusal(c *engine.Conn, user, rule string, r *engine.Refusal) {
	if rule == "" {
		rule = refusalRule(r.Status)
	}
	h.note(c, reasons.Reason{Kind: reasons.Handshake, Rule: rule, User: user}, func() string {
		if r.Detail != "" {
			return r.Reason + ": " + r.Detail
		}
		return r.Reason
	})
}

// refusalRule is a short name for an HTTP status.
func refusalRule(status int) string {
	switch status {
	case 400:
		return "bad_request"
	case 403:
		return "forbidden"
	case 404:
		return "path"
	case 408:
		return "timeout"
	case 426:
		return "no_websocket"
	case 431:
		return "head_too_large"
	case 503:
		return "unavailable"
	}
	return fmt.Sprint(status)
}

// noteToken notes that a token is refused with err. about says what the token was for.
func (h *Hub) noteToken(c *engine.Conn, session, user, about string, err error) {
	if err == errRevoked {
		h.note(c, reasons.Reason{Kind: reasons.Token, Rule: "revoked", Session: session, User: user}, static(about+": a backend has revoked it (/api/revoke)"))
		return
	}
	rule, claimed := token.RuleOf(err)
	h.note(c, reasons.Reason{Kind: reasons.Token, Rule: rule, Session: session, User: cmp.Or(user, claimed)}, func() string {
		return about + ": " + token.Explain(err).Text
	})
}

// note keeps a reason that concerns the session.
func (s *Session) note(kind reasons.Kind, rule, topic string, text func() string) {
	h := s.shard.hub
	if !s.traced {
		if others, wanted := h.reasons.Wants(kind, rule); wanted {
			h.reasons.Add(reasons.Reason{Kind: kind, Rule: rule, Session: s.name(), User: s.user(), Addr: addr(s.conn), Topic: topic, Text: text(), Others: others})
		}
		return
	}
	h.note(s.conn, reasons.Reason{Kind: kind, Rule: rule, Session: s.name(), User: s.user(), Topic: topic}, text)
}

// drop counts, by name, something of the client's that is dropped.
func (s *Session) drop(name, topic, why string) {
	s.shard.count.drops.Add(name)
	s.note(reasons.Drop, name, topic, static(why))
}

// denied notes why the session may not do to topic what act says: follow, read or publish to. It returns r.
func (s *Session) denied(act, topic string, r Refusal) Refusal {
	if !r.None() {
		s.note(reasons.Topic, string(r.Code), topic, func() string { return act + ": " + s.explain(act, topic, r) })
	}
	return r
}

const (
	actFollow  = "follow"
	actRead    = "read the history of"
	actPublish = "publish to"
	actWatch   = "see the presence of"
)

// explain is the exact rule that r is about.
func (s *Session) explain(act, topic string, r Refusal) string {
	switch {
	case r.Code != Forbidden:
		return r.Text
	case foreign(topic, s.own):
		return "it is another user's own topic"
	case s.outside(topic):
		return "it belongs to an application of another protocol, or this session to one"
	}
	from := "the token"
	if s.rights() == s.shard.hub.cfg.Rights {
		from = "the defaults (--default-subscribe, --default-publish)"
	}
	return r.Text + ": by " + from + ", " + s.rights().WhyNot(s.user(), topic, act == actPublish)
}

// NoteCut notes that the hub ends a connection in a protocol's lobby.
func (h *Hub) NoteCut(c *engine.Conn, cause *engine.Cause) {
	if cut(cause) {
		h.note(c, reasons.Reason{Kind: reasons.Cut, Rule: cause.Name}, func() string { return words(c, cause, h.heartbeat) })
	}
}

// noteCut notes why the session's connection is cut.
func (s *Session) noteCut(cause *engine.Cause) {
	switch {
	case cut(cause):
		s.note(reasons.Cut, cause.Name, "", func() string { return words(s.conn, cause, s.shard.hub.heartbeat) })
	default:
		s.trace("end", "", func(e *zerolog.Event) { e.Str("cause", cause.Name) })
	}
}

// cut reports whether a connection with this cause is ended by the hub, and not for its own end.
func cut(cause *engine.Cause) bool {
	return !slices.Contains([]*engine.Cause{engine.ByPeer, engine.PeerGone, engine.Shutdown, Drained, Rebalanced}, cause)
}

// words say why a connection ends.
func words(c *engine.Conn, cause *engine.Cause, heartbeat time.Duration) string {
	text := []string{cause.Reason}
	switch cause {
	case engine.HeartbeatMissed:
		text[0] = fmt.Sprintf("the client was silent for %s after a ping", heartbeat)
	case engine.TLSBroken:
		text[0] = "the client broke TLS, or sent an alert"
	case engine.SlowConsumer:
		text[0] = "the client does not read fast enough"
	case engine.TooBig:
		text[0] = "a message is larger than --max-message"
	case engine.InflateBomb:
		text[0] = "a compressed message is a bomb: it inflates to more than --max-message"
	case engine.InvalidDeflate:
		text[0] = "a compressed message can't be inflated"
	case engine.InvalidText:
		text[0] = "a text message is not UTF-8"
	case engine.ProtocolError:
		text[0] = "the client broke RFC 6455"
	case Unidentified:
		text[0] = "its token was revoked (/api/revoke), or the one that it sent instead is not valid"
	case TokenExpired:
		text[0] = "its token expired, and no other one came in time (--auth-grace)"
	case Disconnected:
		text[0] = "a backend disconnected it (/api/disconnect)"
	case RateExceeded:
		text[0] = "it went on sending far above --message-rate"
	case TooManySessions:
		text[0] = "its user has more sessions on this node than --max-sessions-per-user"
	}
	if broke := c.Broke(); broke != "" {
		text = append(text, broke)
	}
	if n := c.Queued(); n > 0 {
		text = append(text, fmt.Sprintf("%d bytes wait for it", n))
	}
	return strings.Join(text, "; ")
}

// trace logs what happens to a session of a user who is traced. more adds fields: never an event's data, a token or a
// key.
func (s *Session) trace(what, topic string, more func(*zerolog.Event)) {
	if !s.traced {
		return
	}
	s.shard.hub.traceLine(s.user(), what, func(e *zerolog.Event) {
		e.Str("session", s.name())
		if topic != "" {
			e.Str("topic", topic)
		}
		if more != nil {
			more(e)
		}
	})
}

// traceBatch logs that events reach the session, or wait in its pump.
func (s *Session) traceBatch(ext *topicExt) {
	last := ext.batch[len(ext.batch)-1]
	s.trace("events", last.topic, func(e *zerolog.Event) {
		e.Int("events", len(ext.batch)).Bool("waits", s.lagging)
		if !last.position.IsZero() {
			e.Str("last", last.position.String())
		}
	})
}
