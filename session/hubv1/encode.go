package hubv1

import (
	"encoding/json"
	"strconv"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// Enveloped is the format of events in hub.v1.json: an object with topic, position and data.
var Enveloped = session.NewFormat(session.Words{
	Event: func(ev *pubsub.Event) []byte {
		return TextFrame(appendEvent(make([]byte, 0, 64+len(ev.Topic)+len(ev.Data)), ev))
	},
	Gap:      func(topic string, at pubsub.Position) []byte { return GapFrame(topic, at) },
	Moved:    func(m *pubsub.Moved) []byte { return TextFrame(appendMoved(nil, m)) },
	Presence: func(topic string, p *pubsub.Presence) []byte { return TextFrame(appendWhole(nil, topic, p)) },
})

// TextFrame makes a frame of one JSON message.
func TextFrame(payload []byte) []byte {
	return engine.AppendFrame(make([]byte, 0, len(payload)+10), engine.OpText, payload)
}

// GapFrame makes the frame that announces a loss.
func GapFrame(topic string, at pubsub.Position) []byte { return TextFrame(appendGap(nil, topic, at)) }

// WriteError sends the client an error, with the id of the request, nil for none.
func WriteError(s *session.Session, id json.RawMessage, r session.Refusal) {
	s.CountError(r.Code)
	s.Write(TextFrame(appendError(nil, id, r.Code, r.Text)))
}

// WriteSubscribed tells the session that a topic is followed.
func WriteSubscribed(s *session.Session, id json.RawMessage, o session.Outcome) {
	s.Write(TextFrame(appendSubscribed(nil, id, o)))
}

func appendEvent(dst []byte, ev *pubsub.Event) []byte {
	dst = append(dst, `{"type":"event","topic":`...)
	dst = appendString(dst, ev.Topic)
	dst = appendPosition(dst, ev.Position)
	dst = append(dst, `,"data":`...)
	dst = append(dst, ev.Data...)
	return append(dst, '}')
}

func appendGap(dst []byte, topic string, at pubsub.Position) []byte {
	dst = append(dst, `{"type":"gap","topic":`...)
	dst = appendString(dst, topic)
	dst = appendPosition(dst, at)
	return append(dst, '}')
}

// appendPosition appends the position member, if there is a position.
func appendPosition(dst []byte, p pubsub.Position) []byte {
	if p.IsZero() {
		return dst
	}
	dst = append(dst, `,"position":"`...)
	dst = p.Append(dst)
	return append(dst, '"')
}

// appendPlace appends the position member that an answer carries. The place before the first event has one, too,
// where the client is to begin from it.
func appendPlace(dst []byte, o session.Outcome) []byte {
	if o.Recovered && o.Position.IsZero() {
		return append(dst, `,"position":"0"`...)
	}
	return appendPosition(dst, o.Position)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string can always be marshalled
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendID appends the id member that echoes a request's number, if it had one.
func appendID(dst []byte, id json.RawMessage) []byte {
	if id == nil {
		return dst
	}
	dst = append(dst, `,"id":`...)
	return append(dst, id...)
}

func appendError(dst []byte, id json.RawMessage, code session.Code, text string) []byte {
	dst = append(dst, `{"type":"error"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"code":"`...)
	dst = append(dst, code...)
	dst = append(dst, `","message":`...)
	dst = appendString(dst, text)
	dst = append(dst, `,"retry":`...)
	dst = strconv.AppendBool(dst, code.Retry())
	return append(dst, '}')
}

// appendSubscribed appends the answer that a topic is followed.
func appendSubscribed(dst []byte, id json.RawMessage, o session.Outcome) []byte {
	dst = append(dst, `{"type":"subscribed"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, o.Topic)
	dst = appendPlace(dst, o)
	if o.Asked {
		dst = strconv.AppendBool(append(dst, `,"recovered":`...), o.Recovered)
	}
	if o.Presence != nil {
		dst = appendMembers(appendCounts(dst, o.Presence.Clients, o.Presence.Users), o.Presence.Members)
	}
	return append(dst, '}')
}
