package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Protocol is all that hubbench knows of one kind of server. It keeps no state: what it says of one
// client holds for all. A further server needs one more implementation, named in Protocols.
type Protocol interface {
	// Subprotocol is what the handshake offers; empty for none.
	Subprotocol() string
	// Query names the user and, where the URL does that, the topic. Both may be empty.
	Query(topic, user string) url.Values
	// Subscribe appends the message that follows topic after since (a Message's Position, or empty).
	// Where the URL has done that it appends nothing.
	Subscribe(dst []byte, id int, topic, since string) []byte
	// Publish appends the message that publishes data.
	Publish(dst []byte, id int, topic string, data []byte) []byte
	// Parse reads one message of the server, which is valid UTF-8. An error means it must not be sent.
	Parse(text []byte) (Message, error)
}

// Kind says what a message is to a follower.
type Kind int

const (
	Other Kind = iota
	Event
	Subscribed
	Gap
	Goodbye
	Ack // of a publish
	Failure
)

// Message is one message of a server. Which fields count is told by Kind.
type Message struct {
	Kind      Kind
	Topic     string        // empty where the protocol does not tell
	Data      []byte        // Event: what was published, sharing memory with the text
	Position  string        // Event, Subscribed, Gap: where to go on from
	Recovered bool          // Subscribed: everything after since follows
	After     time.Duration // Goodbye: come back no sooner
	Code      string        // Failure
}

// Protocols are those that can be asked for by name.
var Protocols = map[string]Protocol{"plain": plain{}, "hub.v1": hubV1{}}

// ProtocolNames lists Protocols in order.
func ProtocolNames() []string {
	var names []string
	for name := range Protocols {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var errNotJSON = errors.New("not JSON")

// plain: a text frame is an event, as it was published.
type plain struct{}

func (plain) Subprotocol() string                             { return "" }
func (plain) Subscribe(dst []byte, _ int, _, _ string) []byte { return dst }
func (plain) Publish(dst []byte, _ int, _ string, data []byte) []byte {
	return append(dst, data...)
}

func (plain) Query(topic, user string) url.Values {
	q := url.Values{}
	if topic != "" {
		q.Set("topic", topic)
	}
	if user != "" {
		q.Set("user", user)
	}
	return q
}

func (plain) Parse(text []byte) (Message, error) {
	if !json.Valid(text) {
		return Message{}, errNotJSON
	}
	if bytes.Contains(text, []byte(`"error"`)) { // seldom: so most are read once only
		var failure struct{ Type, Code string }
		if json.Unmarshal(text, &failure) == nil && failure.Type == "error" {
			return Message{Kind: Failure, Code: failure.Code}, nil
		}
	}
	return Message{Kind: Event, Data: text}, nil
}

// hubV1 is the subprotocol hub.v1.json.
type hubV1 struct{}

func (hubV1) Subprotocol() string { return "hub.v1.json" }

func (hubV1) Query(_, user string) url.Values {
	if user == "" {
		return nil
	}
	return url.Values{"user": {user}}
}

func (hubV1) Subscribe(dst []byte, id int, topic, since string) []byte {
	dst = append(dst, `{"type":"subscribe","id":`...)
	dst = strconv.AppendInt(dst, int64(id), 10)
	dst = append(dst, `,"topic":`...)
	dst = strconv.AppendQuote(dst, topic)
	if since != "" {
		dst = append(dst, `,"since":`...)
		dst = strconv.AppendQuote(dst, since)
	}
	return append(dst, '}')
}

func (hubV1) Publish(dst []byte, id int, topic string, data []byte) []byte {
	dst = append(dst, `{"type":"publish","id":`...)
	dst = strconv.AppendInt(dst, int64(id), 10)
	dst = append(dst, `,"topic":`...)
	dst = strconv.AppendQuote(dst, topic)
	dst = append(dst, `,"data":`...)
	dst = append(dst, data...)
	return append(dst, '}')
}

func (hubV1) Parse(text []byte) (Message, error) {
	var m struct {
		Type, Topic, Position, Code string
		Recovered                   bool
		AfterMS                     int64 `json:"after_ms"`
		Data                        json.RawMessage
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", errNotJSON, err)
	}
	message := Message{Topic: m.Topic, Position: m.Position}
	switch m.Type {
	case "event":
		if m.Topic == "" || m.Data == nil {
			return message, errors.New("event without topic or data")
		}
		message.Kind, message.Data = Event, m.Data
	case "subscribed":
		message.Kind, message.Recovered = Subscribed, m.Recovered
	case "gap":
		message.Kind = Gap
	case "goodbye":
		message.Kind, message.After = Goodbye, time.Duration(m.AfterMS)*time.Millisecond
	case "ok":
		message.Kind = Ack
	case "error":
		message.Kind, message.Code = Failure, m.Code
	case "":
		return message, errors.New("message without a type")
	}
	return message, nil
}
