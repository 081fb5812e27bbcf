package session

import (
	"encoding/json"
	"strconv"
	"sync"

	"wshub/engine"
	"wshub/pubsub"
)

// format is how a session wants its events.
type format uint8

const (
	verbatim  format = iota // the event's data alone, one text frame
	enveloped               // hub.v1.json
	formats
)

// message is an event, or the news of a gap, on its way to a topic's followers. All loops share it; its
// frame is made once per format, by the loop that needs it first.
type message struct {
	topic    string
	event    *pubsub.Event   // nil: a gap
	position pubsub.Position // the event's; of a gap, where the topic goes on
	made     [formats]sync.Once
	frames   [formats][]byte
}

// frame returns the message's frame in format f, nil if that format has no words for it.
func (m *message) frame(f format) []byte {
	m.made[f].Do(func() {
		switch {
		case f == enveloped && m.event == nil:
			m.frames[f] = textFrame(appendGap(nil, m.topic, m.position))
		case f == enveloped:
			m.frames[f] = textFrame(appendEvent(make([]byte, 0, 64+len(m.topic)+len(m.event.Data)), m.event))
		case m.event != nil:
			m.frames[f] = textFrame(m.event.Data)
		}
	})
	return m.frames[f]
}

// size is roughly what a message costs while it waits.
func (m *message) size() int {
	if m.event == nil {
		return messageOverhead
	}
	return messageSize(m.event)
}

const messageOverhead = 128

func messageSize(ev *pubsub.Event) int { return messageOverhead + len(ev.Data) }

func textFrame(payload []byte) []byte {
	return engine.AppendFrame(make([]byte, 0, len(payload)+10), engine.OpText, payload)
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

// appendPosition appends the position member that an answer carries. The place before the first event has one, too,
// where the client is to begin from it.
func (o *outcome) appendPosition(dst []byte) []byte {
	if o.recovered && o.position.IsZero() {
		return append(dst, `,"position":"0"`...)
	}
	return appendPosition(dst, o.position)
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

func appendError(dst []byte, id json.RawMessage, code Code, text string) []byte {
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
