package hubv1

import (
	"wshub/pubsub"
	"wshub/session"
)

// These append messages of hub.v1 without a frame, for protocols that carry them in another way.

// AppendEvent appends an event.
func AppendEvent(dst []byte, ev *pubsub.Event) []byte { return appendEvent(dst, ev) }

// AppendGap appends the news of a loss.
func AppendGap(dst []byte, topic string, at pubsub.Position) []byte { return appendGap(dst, topic, at) }

// AppendSubscribed appends that a topic is followed, as an answer to nobody.
func AppendSubscribed(dst []byte, o session.Outcome) []byte { return appendSubscribed(dst, nil, o) }

// AppendString appends s as a JSON string.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s) }

// AppendPosition appends the position member, if there is a position.
func AppendPosition(dst []byte, p pubsub.Position) []byte { return appendPosition(dst, p) }

// AppendTopicError appends an error about a topic.
func AppendTopicError(dst []byte, topic string, r session.Refusal) []byte {
	dst = appendError(dst, nil, r.Code, r.Text)
	dst = appendString(append(dst[:len(dst)-1], `,"topic":`...), topic)
	return append(dst, '}')
}

// ReadPublish reads a message's topic, data and key, as of a publish. Data lies in message. A Refusal says why it can't.
func ReadPublish(message []byte) (pubsub.Publication, session.Refusal) {
	m, err := parseRequest(message)
	if err != nil {
		return pubsub.Publication{}, session.Refusal{Code: session.BadJSON, Text: err.Error()}
	}
	topic, ok := text(m.topic)
	if !ok || topic == "" {
		return pubsub.Publication{}, session.Refusal{Code: session.BadTopic, Text: "topic: want " + examples["topic"]}
	}
	key, ok := text(m.key)
	if !ok {
		return pubsub.Publication{}, session.Refusal{Code: session.BadRequest, Text: "key: want a string"}
	}
	if m.data == nil {
		return pubsub.Publication{}, session.Refusal{Code: session.BadRequest, Text: "data is missing: want " + examples["data"]}
	}
	return pubsub.Publication{Topic: topic, Data: m.data, Key: key}, session.Refusal{}
}
