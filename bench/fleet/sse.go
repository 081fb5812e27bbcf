package fleet

import (
	"bytes"
	"errors"
	"net/url"
)

// streamer is a Protocol whose clients only listen, to the blocks of a response that does not end.
type streamer interface{ streams() }

// sse is the hub's server-sent events. Events come as they were published, or where a client follows several topics as
// those of hub.v1.
type sse struct{ usual }

func (sse) streams()                                             {}
func (sse) Subprotocol() string                                  { return "" }
func (sse) Query(topic, user, token string) url.Values           { return query(topic, user, token) }
func (sse) Open(dst []byte, _ Entry) []byte                      { return dst }
func (sse) Subscribe(dst []byte, _, _ string) []byte             { return dst }
func (sse) Publish(dst []byte, _ int, _ string, _ []byte) []byte { return dst }

// Parse reads one block, without the blank line that ends it.
func (sse) Parse(dst []Message, block []byte) ([]Message, error) {
	var id string
	var data []byte
	hub, lines := false, 0
	for line := range bytes.SplitSeq(block, []byte("\n")) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "", "retry":
		case "id":
			id = string(value)
		case "event":
			if hub = string(value) == "hub"; !hub {
				return dst, errors.New("an event of an unknown name")
			}
		case "data":
			if lines++; lines > 1 {
				data = append(append(data[:len(data):len(data)], '\n'), value...)
			} else {
				data = value
			}
		default:
			return dst, errors.New("an unknown field")
		}
	}
	switch {
	case lines == 0:
		return append(dst, Message{Kind: Ping}), nil
	case hub || bytes.HasPrefix(data, []byte(`{"type":"event","topic":`)):
		return hubV1{}.Parse(dst, data)
	}
	all, err := plain{}.Parse(dst, data)
	if err == nil {
		all[len(all)-1].Position = id
	}
	return all, err
}
