package pusher

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// message is what a client sent. Its parts are copies, but for data, which lies in the frame.
type message struct {
	event, channel string
	data           json.RawMessage // nil if absent
}

var errMessage = errors.New("want a message of an event, its data and perhaps a channel, as JSON")

// parseMessage reads a frame. The names of its members are exact, upper and lower case too; of several with one name the last
// counts, others are ignored.
func parseMessage(frame []byte) (m message, err error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(frame, &members) != nil || members == nil {
		return m, errMessage
	}
	if m.event, err = text(members["event"]); err != nil || m.event == "" {
		return m, errMessage
	}
	if m.channel, err = text(members["channel"]); err != nil {
		return m, errMessage
	}
	m.data = members["data"]
	return m, nil
}

// text reads a JSON string; absent and null are "".
func text(value json.RawMessage) (s string, err error) {
	if len(value) == 0 {
		return "", nil
	}
	if value[0] != '"' && string(value) != "null" {
		return "", errMessage
	}
	err = json.Unmarshal(value, &s)
	return s, err
}

// object reads the members of data, an object or a JSON string of one.
func object(data json.RawMessage) (map[string]json.RawMessage, error) {
	if len(data) > 0 && data[0] == '"' {
		s, err := text(data)
		if err != nil {
			return nil, err
		}
		data = []byte(s)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return nil, errors.New("data: want an object")
	}
	return members, nil
}

// pongFrame is the answer to a ping.
var pongFrame = frame("pusher:pong", "", "{}")

// Message implements session.Protocol.
func (p Protocol) Message(s *session.Session, op engine.Opcode, payload []byte) {
	if op != engine.OpText {
		s.Close(session.BinaryFrame)
		return
	}
	m, err := parseMessage(payload)
	if err != nil {
		tell(s, session.BadJSON, errorFrame(noCode, err.Error()))
		return
	}
	switch m.event {
	case "pusher:ping":
		s.Write(pongFrame)
	case "pusher:pong":
	case "pusher:subscribe":
		p.subscribe(s, m.data)
	case "pusher:unsubscribe":
		p.unsubscribe(s, m.data)
	case "pusher:signin":
		p.signIn(s, m.data)
	default:
		if strings.HasPrefix(m.event, clientPrefix) {
			p.clientEvent(s, m)
			return
		}
		tell(s, session.UnknownType, errorFrame(noCode, "this hub knows no event "+clip(m.event)+" of clients; their own begin with "+clientPrefix))
	}
}

// Denied implements session.Protocol.
func (p Protocol) Denied(s *session.Session, op engine.Opcode, payload []byte) {
	if op != engine.OpText {
		s.Close(session.BinaryFrame)
		return
	}
	const words = "too many messages: this one was dropped"
	m, err := parseMessage(payload)
	switch {
	case err != nil:
	case strings.HasPrefix(m.event, clientPrefix):
		tell(s, session.RateLimited, errorFrame(clientDenied, words))
		return
	case m.event == "pusher:subscribe":
		if channel, err := channelOf(m.data); err == nil {
			tell(s, session.RateLimited, faultFrame(clipChannel(channel), faultOf(session.Refusal{Code: session.RateLimited, Text: words})))
			return
		}
	case m.event == "pusher:unsubscribe":
		p.unsubscribe(s, m.data) // else its events would go on
		return
	}
	tell(s, session.RateLimited, errorFrame(noCode, words))
}

// tell tells the client of an error, and counts it.
func tell(s *session.Session, code session.Code, frame []byte) {
	s.CountError(code)
	s.Write(frame)
}

// clip is text short enough for an error.
func clip(text string) string {
	if len(text) > 64 {
		text = strings.ToValidUTF8(text[:64], "") + "…"
	}
	return `"` + text + `"`
}

// channelOf reads which channel data names.
func channelOf(data json.RawMessage) (string, error) {
	members, err := object(data)
	if err != nil {
		return "", err
	}
	return text(members["channel"])
}

// clientEvent publishes an event of a client to the other subscribers of a channel.
func (p Protocol) clientEvent(s *session.Session, m message) {
	topic := p.app.Topic(m.channel)
	refuse := func(code session.Code, why string) { tell(s, code, errorFrame(clientDenied, why)) }
	switch {
	case !ValidChannel(m.channel) || !ValidName(m.event):
		refuse(session.BadRequest, "a client event needs the name of a channel, and one of its own of at most 200 bytes")
		return
	case !isGuarded(m.channel) || isEncrypted(m.channel):
		refuse(session.Forbidden, "client events go to private and presence channels only")
		return
	case s.Persona(topic) == nil:
		refuse(session.Forbidden, "client events go to channels that the client subscribes to")
		return
	case len(m.data) > MaxEvent:
		refuse(session.TooLarge, "the data of an event may have 10 KB")
		return
	}
	value := bytes.TrimSpace(m.data)
	if len(value) == 0 {
		value = []byte("null")
	}
	pub := p.app.publication(m.channel, m.event, value)
	pub.Attributes.Except = s.Name()
	if as := s.Persona(topic); as.User != "" {
		pub.Attributes.Info = append(appendString([]byte(`{"user":`), as.User), '}')
	}
	s.Publish(pub, true, func(_ pubsub.Position, why session.Refusal) {
		refuse(why.Code, why.Text)
	})
}
