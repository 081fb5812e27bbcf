package pusher

import (
	"bytes"
	"encoding/json"

	"wshub/pubsub"
)

// StringToSign is the text that a request's signature is over.
var StringToSign = stringToSign

// ParseMessage reads a frame of a client.
func ParseMessage(frame []byte) (event, channel string, data json.RawMessage, err error) {
	m, err := parseMessage(frame)
	return m.event, m.channel, m.data, err
}

// EventFrame is the payload of an event's frame.
func EventFrame(channel string, ev *pubsub.Event) []byte {
	frame := eventFrame(channel, ev)
	return frame[bytes.IndexByte(frame, '{'):]
}
