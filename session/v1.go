package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"wshub/pubsub"
)

// hub.v1.json: one JSON object per text frame, in both directions.

// silenceTime is how long a hub.v1 client may be silent before its own topic is followed: it may begin
// with a request that says where it left off there.
const silenceTime = time.Second

// maxRequestID and maxKey bound a request's id as it stands, and an idempotency key, in bytes.
const (
	maxRequestID = 64
	maxKey       = 128
)

// clientMessage is whatever a client sends; each type uses some of the fields.
type clientMessage struct {
	Type      string            `json:"type"`
	ID        json.RawMessage   `json:"id"`
	Topic     string            `json:"topic"`
	Since     *string           `json:"since"`
	Data      json.RawMessage   `json:"data"`
	Key       string            `json:"key"`
	Limit     int               `json:"limit"`
	Token     string            `json:"token"`
	Positions map[string]string `json:"positions"`
}

// request does what one frame of a hub.v1 client asks for.
func (s *Session) request(payload []byte) {
	var m clientMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		s.refuseRequest(payload, err)
		return
	}
	if !validID(m.ID) {
		s.error(nil, BadRequest, "id: want a number or a string of up to 64 bytes")
		return
	}
	switch m.Type {
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
		s.send(append(appendID([]byte(`{"type":"pong"`), m.ID), '}'))
	default:
		s.error(m.ID, UnknownType, "type: want subscribe, unsubscribe, publish, history, resume, auth or ping")
	}
	s.followOwn()
}

// refuseRequest answers a message that could not be read, with its id where that could.
func (s *Session) refuseRequest(payload []byte, err error) {
	if !json.Valid(payload) {
		s.error(nil, BadJSON, "the message is not JSON")
		return
	}
	var of struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(payload, &of) != nil {
		s.error(nil, BadRequest, "the message is not an object")
		return
	}
	if !validID(of.ID) {
		of.ID = nil
	}
	var field *json.UnmarshalTypeError
	if errors.As(err, &field) {
		s.error(of.ID, BadRequest, field.Field+": a "+field.Value+" can't stand here")
		return
	}
	s.error(of.ID, BadRequest, "a field has the wrong type")
}

// validID tells whether id is absent, a number or a string, and short.
func validID(id json.RawMessage) bool {
	return len(id) == 0 || len(id) <= maxRequestID && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}

func (s *Session) requestSubscribe(m *clientMessage) {
	var since *pubsub.Position
	if m.Since != nil {
		p, err := pubsub.ParsePosition(*m.Since)
		if err != nil {
			s.error(m.ID, BadRequest, "since: want a position as the hub gave it, or \"0\"")
			return
		}
		since = &p
	}
	if code, text := s.mayFollow(m.Topic); code != "" {
		s.error(m.ID, code, text)
		return
	}
	s.subscribe(m.Topic, m.ID, true, since)
}

// mayFollow returns why the session can't follow name, or "".
func (s *Session) mayFollow(name string) (Code, string) {
	sh := s.shard
	if err := checkTopic(name); err != nil {
		return BadTopic, err.Error()
	}
	switch {
	case reserved(name, s.own), name != s.own && !s.maySubscribe(name):
		return Forbidden, "this topic is not for this session"
	case s.following(name) >= 0 || s.waitingFor(name) != nil:
		return AlreadyFollows, "the session follows this topic already"
	case s.topics() >= sh.hub.cfg.MaxTopics:
		return TooManyTopics, "a session may follow " + strconv.Itoa(sh.hub.cfg.MaxTopics) + " topics"
	case sh.subs >= sh.hub.cfg.MaxNodeTopics/len(sh.hub.shards):
		return TooManyTopics, "the node has no room for more subscriptions"
	}
	return "", ""
}

func (s *Session) requestUnsubscribe(m *clientMessage) {
	if s.own != "" && m.Topic == s.own {
		s.error(m.ID, Forbidden, "a session can't leave its user's own topic")
		return
	}
	if sub := s.waitingFor(m.Topic); sub != nil {
		sub.abandon()
	} else if i := s.following(m.Topic); i >= 0 {
		s.unfollow(i)
	} else {
		s.error(m.ID, NotSubscribed, "the session does not follow this topic")
		return
	}
	s.send(append(appendID([]byte(`{"type":"ok"`), m.ID), '}'))
}

func (s *Session) requestPublish(m *clientMessage) {
	err := checkTopic(m.Topic)
	switch {
	case err != nil:
		s.error(m.ID, BadTopic, err.Error())
	case reserved(m.Topic, s.own), !s.mayPublish(m.Topic):
		s.error(m.ID, Forbidden, "this topic is not for this session")
	case m.Data == nil:
		s.error(m.ID, BadRequest, "data is missing")
	case len(m.Key) > maxKey:
		s.error(m.ID, BadRequest, fmt.Sprintf("key: at most %d bytes", maxKey))
	default:
		s.publish(m.ID, pubsub.Publication{Topic: m.Topic, Data: bytes.TrimSpace(m.Data), Key: m.Key}, true)
	}
}

// followOwn follows the user's own topic, once.
func (s *Session) followOwn() {
	if s.ext == nil || s.ext.silence == nil {
		return
	}
	s.stopSilence()
	if s.following(s.own) < 0 && s.waitingFor(s.own) == nil {
		s.subscribe(s.own, nil, true, nil)
	}
	s.trim()
}

// beginSilence waits for the client's first frame before its own topic is followed.
func (s *Session) beginSilence() {
	s.extra().silence = s.shard.loop.After(silenceTime, s.followOwn)
	s.shard.silent[s] = struct{}{}
}

func (s *Session) stopSilence() {
	if s.ext.silence != nil {
		s.shard.loop.Stop(s.ext.silence)
		s.ext.silence = nil
		delete(s.shard.silent, s)
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
