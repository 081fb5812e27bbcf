package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"wshub/bench/wire"
)

// Protocol is all that hubbench knows of one kind of server. It keeps no state: what it says of one
// client holds for all. A further server needs one more implementation, named in Protocols.
type Protocol interface {
	// Path is where the hub serves it.
	Path() string
	// Subprotocol is what the handshake offers; empty for none.
	Subprotocol() string
	// Opcode is that of messages, both ways: wire.Text or wire.Binary.
	Opcode() wire.Opcode
	// Query names, where the URL does that, the user or holds its token, and names the topic. Each may be
	// empty.
	Query(topic, user, token string) url.Values
	// Open appends the first message of a connection, which follows what e names. Where the URL has done
	// that it appends nothing.
	Open(dst []byte, e Entry) []byte
	// Subscribe appends the message that follows topic after since (a client's position, or empty).
	Subscribe(dst []byte, topic, since string) []byte
	// Publish appends the message that publishes data. id is 1 or more.
	Publish(dst []byte, id int, topic string, data []byte) []byte
	// Split cuts the first message off what a frame holds. rest is nil behind the last one.
	Split(frame []byte) (message, rest []byte, err error)
	// Parse appends to dst what one message of the server says, in the order in which it counts. Text is
	// valid UTF-8. An error means that it must not be sent.
	Parse(dst []Message, message []byte) ([]Message, error)
	// Place returns the position of a client that was at last and got an Event with the Position at.
	Place(last, at string) string
}

// Entry is what a client says when it has a connection.
type Entry struct {
	Token string // a JWT; empty for none
	Own   string // its user's own topic, which it follows unasked; empty where it is no user
	Topic string // the topic that it asks for; empty: none but Own
	Since string // its position in Topic, where that is empty in Own; empty for none
	User  string // whom it signs in as, where the protocol does that; empty for nobody
	App   App    // Pusher's; the zero App is none
}

// greeter is a Protocol whose server speaks first: it names the connection, and then a client says what it follows.
type greeter interface {
	// Enter returns the messages that follow what e names, on the connection of that name.
	Enter(e Entry, connection string) [][]byte
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
	Connected    // let in, where that takes more than the handshake
	Ping         // beside those of WebSocket
	Unsubscribed // the topic is to be subscribed to again
	Disconnected // the connection is over
)

// Message is one thing that a server says. Which fields count is told by Kind.
type Message struct {
	Kind      Kind
	Topic     string        // empty where the protocol does not tell: the one that was asked for
	Data      []byte        // Event: what was published, which may share memory with the text; Ping: the answer to it; Connected: the connection's name
	Position  string        // Event, Subscribed, Gap: where to go on from
	Recovered bool          // Subscribed: everything after since follows
	Pong      bool          // Connected: a Ping is to be answered
	After     time.Duration // Goodbye: come back no sooner
	Code      string        // Failure, Disconnected
}

// Protocols are those that can be asked for by name.
var Protocols = map[string]Protocol{
	"plain": plain{}, "hub.v1": hubV1{}, "sse": sse{}, "pusher": pusher{},
	"centrifugo": centrifugo{}, "centrifugo-protobuf": centrifugoProtobuf{},
}

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

// usual is what plain and hub.v1 have in common: a text frame is a message, and positions are whole.
type usual struct{}

func (usual) Path() string                              { return "/notification" }
func (usual) Opcode() wire.Opcode                       { return wire.Text }
func (usual) Split(frame []byte) (m, _ []byte, _ error) { return frame, nil, nil }
func (usual) Place(_, at string) string                 { return at }

// query has those of the parameters that are not empty.
func query(topic, user, token string) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"topic": topic, "user": user, "token": token} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// plain: a text frame is an event, as it was published.
type plain struct{ usual }

func (plain) Subprotocol() string                        { return "" }
func (plain) Query(topic, user, token string) url.Values { return query(topic, user, token) }
func (plain) Open(dst []byte, _ Entry) []byte            { return dst }
func (plain) Subscribe(dst []byte, _, _ string) []byte   { return dst }
func (plain) Publish(dst []byte, _ int, _ string, data []byte) []byte {
	return append(dst, data...)
}

func (plain) Parse(dst []Message, text []byte) ([]Message, error) {
	if !json.Valid(text) {
		return dst, errNotJSON
	}
	if bytes.Contains(text, []byte(`"error"`)) { // seldom: so most are read once only
		var failure struct{ Type, Code string }
		if json.Unmarshal(text, &failure) == nil && failure.Type == "error" {
			return append(dst, Message{Kind: Failure, Code: failure.Code}), nil
		}
	}
	return append(dst, Message{Kind: Event, Data: text}), nil
}

// hubV1 is the subprotocol hub.v1.json.
type hubV1 struct{ usual }

func (hubV1) Subprotocol() string                    { return "hub.v1.json" }
func (hubV1) Query(_, user, token string) url.Values { return query("", user, token) }

func (p hubV1) Open(dst []byte, e Entry) []byte {
	return p.Subscribe(dst, cmp.Or(e.Topic, e.Own), e.Since)
}

func (hubV1) Subscribe(dst []byte, topic, since string) []byte {
	dst = append(dst, `{"type":"subscribe","id":1,"topic":`...)
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

func (hubV1) Parse(dst []Message, text []byte) ([]Message, error) {
	var m struct {
		Type, Topic, Position, Code string
		Recovered                   bool
		AfterMS                     int64 `json:"after_ms"`
		Data                        json.RawMessage
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return dst, fmt.Errorf("%w: %w", errNotJSON, err)
	}
	message := Message{Topic: m.Topic, Position: m.Position}
	switch m.Type {
	case "event":
		if m.Topic == "" || m.Data == nil {
			return dst, errors.New("event without topic or data")
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
		return dst, errors.New("message without a type")
	}
	return append(dst, message), nil
}
