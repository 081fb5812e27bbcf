package pusher

import "encoding/json"

// StringToSign is the text that a request's signature is over.
var StringToSign = stringToSign

// ParseMessage reads a frame of a client.
func ParseMessage(frame []byte) (event, channel string, data json.RawMessage, err error) {
	m, err := parseMessage(frame)
	return m.event, m.channel, m.data, err
}
