package hubv1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// Subprotocol is the name by which clients ask for hub.v1.
const Subprotocol = "hub.v1.json"

// Protocol is hub.v1. Its zero value is ready.
type Protocol struct{}

// Name implements session.Protocol.
func (Protocol) Name() string { return "v1" }

// Subprotocols implements session.Protocol.
func (Protocol) Subprotocols() []string { return subprotocols }

var subprotocols = []string{Subprotocol} // one for all handshakes

// Judge implements session.Protocol.
func (Protocol) Judge(a *session.Admission, _ *engine.Request, query url.Values) *engine.Refusal {
	for _, name := range []string{"topic", "since", "positions"} {
		if query.Has(name) {
			return session.Refuse("?%s= is for plain clients; with %s send a message", name, Subprotocol)
		}
	}
	a.Format, a.Named, a.MayReplace = Enveloped, true, true
	return nil
}

// First implements session.Protocol: it is the welcome.
func (Protocol) First(s *session.Session) []byte {
	b := []byte(`{"type":"welcome","session":"`)
	b = append(b, s.Name()...)
	b = append(b, '"')
	if s.Own() != "" {
		b = append(b, `,"user":`...)
		b = appendString(b, s.User())
	}
	b = append(b, `,"node":`...)
	b = appendString(b, s.Hub().Config().Node)
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(s.Hub().Heartbeat()/time.Second), 10)
	return TextFrame(append(appendExpiry(appendTicket(b, s), s), '}'))
}

// appendExpiry appends the member expires_in, the whole seconds until the session's token expires, if it does.
func appendExpiry(dst []byte, s *session.Session) []byte {
	left, ends := s.ExpiresIn()
	if !ends {
		return dst
	}
	return strconv.AppendInt(append(dst, `,"expires_in":`...), int64(left/time.Second), 10)
}

// appendTicket appends the token member: with it, any node takes the session up again.
func appendTicket(dst []byte, s *session.Session) []byte {
	ticket := s.Ticket()
	if ticket == "" {
		return dst
	}
	dst = append(dst, `,"token":"`...)
	return append(append(dst, ticket...), '"')
}

// Opened implements session.Protocol.
func (Protocol) Opened(s *session.Session, a *session.Admission) { s.AwaitFirst(a.Returning) }

// Message implements session.Protocol: it does what one frame asks for.
func (Protocol) Message(s *session.Session, op engine.Opcode, payload []byte) {
	if op != engine.OpText {
		s.Close(session.BinaryFrame)
		return
	}
	m, err := parseRequest(payload)
	switch {
	case errors.Is(err, errNoObject):
		WriteError(s, nil, session.Refusal{Code: session.BadRequest, Text: err.Error()})
		return
	case err != nil:
		WriteError(s, nil, session.Refusal{Code: session.BadJSON, Text: err.Error()})
		return
	case !validID(m.id):
		why := ", not " + isA(m.id)
		if len(m.id) > maxRequestID {
			why = fmt.Sprintf(", not one of %d", len(m.id))
		}
		WriteError(s, nil, session.Refusal{Code: session.BadRequest, Text: "id: want a number or a string of up to 64 bytes" + why})
		return
	}
	m.id = slices.Clone(m.id) // most answers come later
	r := asking{s, &m}
	kind, ok := r.required("type", m.kind)
	if !ok {
		return
	}
	if !s.Justified(kind == "resume") {
		return
	}
	switch kind {
	case "subscribe":
		r.subscribe()
	case "unsubscribe":
		r.unsubscribe()
	case "publish":
		r.publish()
	case "history":
		r.history()
	case "presence":
		r.presence()
	case "presence_stats":
		r.presenceStats()
	case "resume":
		if !r.resume() {
			s.AwaitNext()
			return
		}
	case "auth":
		r.auth()
	case "ping":
		r.answer(append(appendID([]byte(`{"type":"pong"`), m.id), '}'))
	default:
		last := len(kinds) - 1
		r.refuse(session.Refusal{Code: session.UnknownType, Text: "type: want " + strings.Join(kinds[:last], ", ") + " or " + kinds[last] + ", not " + clipped(kind)})
	}
	s.FollowOwn()
}

// Denied implements session.Protocol.
func (Protocol) Denied(s *session.Session, op engine.Opcode, payload []byte) {
	if op != engine.OpText {
		s.Close(session.BinaryFrame)
		return
	}
	var id json.RawMessage
	if m, err := parseRequest(payload); err == nil && validID(m.id) {
		id = m.id
	}
	WriteError(s, id, session.Refusal{Code: session.RateLimited, Text: "too many messages; this one was dropped"})
}

// Unasked implements session.Protocol.
func (Protocol) Unasked(s *session.Session, o session.Outcome) {
	if o.None() {
		WriteSubscribed(s, nil, o)
	}
}

// Left implements session.Protocol. The error names the topic for programs, too.
func (Protocol) Left(s *session.Session, topic string, why session.Refusal) {
	s.CountError(why.Code)
	b := appendError(nil, nil, why.Code, "the topic "+topic+" is not followed any more: "+why.Text)
	b = appendString(append(b[:len(b)-1], `,"topic":`...), topic)
	s.Write(TextFrame(append(b, '}')))
}

// Unwatched implements session.Protocol. The error names the topic as presence: topic would say that it was left.
func (Protocol) Unwatched(s *session.Session, topic string, why session.Refusal) {
	s.CountError(why.Code)
	b := appendError(nil, nil, why.Code, "the presence of the topic "+topic+" is not watched any more: "+why.Text)
	b = appendString(append(b[:len(b)-1], `,"presence":`...), topic)
	s.Write(TextFrame(append(b, '}')))
}

// Gap implements session.Protocol. The format has words for gaps.
func (Protocol) Gap(*session.Session, string, pubsub.Position) {}

// Expired implements session.Protocol.
func (Protocol) Expired(s *session.Session) (grace time.Duration) {
	WriteError(s, nil, session.Refusal{Code: session.ExpiredToken, Text: "the token has expired: send auth with another one"})
	return s.Hub().Config().AuthGrace
}

// Renewed implements session.Protocol.
func (Protocol) Renewed(s *session.Session) {
	s.Write(TextFrame(append(appendExpiry([]byte(`{"type":"expires"`), s), '}')))
}

// Goodbye implements session.Protocol. The reason is the cause's name.
func (Protocol) Goodbye(s *session.Session, cause *engine.Cause, after time.Duration) {
	b := []byte(`{"type":"goodbye","after_ms":`)
	b = strconv.AppendInt(b, after.Milliseconds(), 10)
	b = appendString(append(b, `,"reason":`...), cause.Name)
	s.Write(TextFrame(append(b, '}')))
}

// Closed implements session.Protocol.
func (Protocol) Closed(*session.Session) {}

// CloseFrame implements session.Protocol: the causes' codes are those of hub.v1.
func (Protocol) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	return cause.Code, cause.Reason
}

// Ping implements session.Protocol.
func (Protocol) Ping(*session.Session) []byte { return engine.PingFrame }
