package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"wshub/pubsub"
)

// hub.v1.json: one JSON object per text frame, in both directions.

// maxKey bounds an idempotency key, in bytes.
const maxKey = 128

// request does what one frame of a hub.v1 client asks for.
func (s *Session) request(payload []byte) {
	m, err := parseRequest(payload)
	switch {
	case errors.Is(err, errNoObject):
		s.error(nil, BadRequest, err.Error())
		return
	case err != nil:
		s.error(nil, BadJSON, err.Error())
		return
	case !validID(m.id):
		s.error(nil, BadRequest, "id: want a number or a string of up to 64 bytes")
		return
	}
	m.id = slices.Clone(m.id) // most answers come later
	kind, ok := text(m.kind)
	if !ok {
		s.error(m.id, BadRequest, "type: want a string")
		return
	}
	if !s.justified(kind) {
		return
	}
	switch kind {
	case "subscribe":
		s.requestSubscribe(&m)
	case "unsubscribe":
		s.requestUnsubscribe(&m)
	case "publish":
		s.requestPublish(&m)
	case "history":
		s.requestHistory(&m)
	case "resume":
		s.requestResume(&m)
	case "auth":
		s.requestAuth(&m)
	case "ping":
		s.send(append(appendID([]byte(`{"type":"pong"`), m.id), '}'))
	default:
		s.error(m.id, UnknownType, "type: want subscribe, unsubscribe, publish, history, resume, auth or ping")
	}
	s.followOwn()
}

// requestID is the id of a request that is not looked at any further, nil if it has none that could be echoed.
func (s *Session) requestID(payload []byte) json.RawMessage {
	if !s.v1 {
		return nil
	}
	if m, err := parseRequest(payload); err == nil && validID(m.id) {
		return m.id
	}
	return nil
}

func (s *Session) requestSubscribe(m *request) {
	name, ok := s.readText(m, "topic", m.topic)
	if !ok {
		return
	}
	since, ok := s.readSince(m)
	if !ok {
		return
	}
	s.subscribe(name, since, asker{s, m.id})
}

// readText reads a member that is to be a string, or refuses the request.
func (s *Session) readText(m *request, name string, value json.RawMessage) (read string, ok bool) {
	if read, ok = text(value); !ok {
		s.error(m.id, BadRequest, name+": want a string")
	}
	return read, ok
}

// readSince reads where the client left off, nil if it does not say, or refuses the request.
func (s *Session) readSince(m *request) (since *pubsub.Position, ok bool) {
	if m.since == nil {
		return nil, true
	}
	t, ok := text(m.since)
	p, err := pubsub.ParsePosition(t)
	if !ok || err != nil {
		s.error(m.id, BadRequest, "since: want a position as the hub gave it, or \"0\"")
		return nil, false
	}
	return &p, true
}

func (s *Session) requestUnsubscribe(m *request) {
	name, ok := s.readText(m, "topic", m.topic)
	if !ok {
		return
	}
	if s.own != "" && name == s.own {
		s.error(m.id, Forbidden, "a session can't leave its user's own topic")
		return
	}
	if sub := s.waitingFor(name); sub != nil {
		sub.end(refusal{NotSubscribed, "the topic was left before it was followed"})
	} else if i := s.following(name); i >= 0 {
		s.unfollow(i)
	} else {
		s.error(m.id, NotSubscribed, "the session does not follow this topic")
		return
	}
	s.send(append(appendID([]byte(`{"type":"ok"`), m.id), '}'))
}

func (s *Session) requestPublish(m *request) {
	name, ok := s.readText(m, "topic", m.topic)
	if !ok {
		return
	}
	key, ok := s.readText(m, "key", m.key)
	if !ok {
		return
	}
	switch r := s.mayPublishTo(name); {
	case !r.none():
		s.refuse(m.id, r)
	case m.data == nil:
		s.error(m.id, BadRequest, "data is missing")
	case len(key) > maxKey:
		s.error(m.id, BadRequest, fmt.Sprintf("key: at most %d bytes", maxKey))
	default:
		s.publish(m.id, pubsub.Publication{Topic: name, Data: bytes.Clone(m.data), Key: key}, true)
	}
}

// welcome is the first message of a hub.v1 session.
func (s *Session) welcome() []byte {
	b := []byte(`{"type":"welcome","session":"`)
	b = append(b, s.name()...)
	b = append(b, '"')
	if s.own != "" {
		b = append(b, `,"user":`...)
		b = appendString(b, s.user())
	}
	b = append(b, `,"node":`...)
	b = appendString(b, s.shard.hub.cfg.Node)
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(s.shard.hub.heartbeat/time.Second), 10)
	return append(s.appendToken(b), '}')
}
