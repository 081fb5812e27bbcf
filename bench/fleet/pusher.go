package fleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// App is an application of Pusher's. A path and a subscription to a public channel need its key alone.
type App struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

// Sign returns the signature of text, in hexadecimal.
func (a App) Sign(text string) string {
	sum := hmac.New(sha256.New, []byte(a.Secret))
	_, _ = sum.Write([]byte(text)) // a hash takes everything
	return hex.EncodeToString(sum.Sum(nil))
}

// serverToUser begins the channel of a user who has signed in.
const serverToUser = "#server-to-user-"

// pusher is protocol 7 of Pusher Channels. A topic is a channel, and an event is the data of one. It has no positions. Its
// clients do not get what they publish, and so they only listen here.
type pusher struct{ usual }

func (pusher) Path() string                                         { return "/app/" }
func (pusher) Subprotocol() string                                  { return "" }
func (pusher) Open(dst []byte, _ Entry) []byte                      { return dst }
func (pusher) Publish(dst []byte, _ int, _ string, _ []byte) []byte { return dst }

func (pusher) Query(_, _, _ string) url.Values {
	return url.Values{"protocol": {"7"}, "client": {"hubbench"}}
}

func (pusher) Subscribe(dst []byte, topic, _ string) []byte {
	dst = append(dst, `{"event":"pusher:subscribe","data":{"channel":`...)
	return append(strconv.AppendQuote(dst, topic), `}}`...)
}

// Enter subscribes as soon as the server has told the connection's name, as pusher-js does, and signs in.
func (p pusher) Enter(e Entry, connection string) (messages [][]byte) {
	if e.Topic != "" {
		messages = append(messages, p.Subscribe(nil, e.Topic, ""))
	}
	if e.Own == "" {
		return messages
	}
	about := `{"id":` + strconv.Quote(e.User) + `}`
	auth := e.App.Key + ":" + e.App.Sign(connection+"::user::"+about)
	dst := strconv.AppendQuote([]byte(`{"event":"pusher:signin","data":{"auth":`), auth)
	dst = strconv.AppendQuote(append(dst, `,"user_data":`...), about)
	return append(messages, append(dst, `}}`...))
}

// The members of a message.
var (
	messageEvent   = field{name: `"event"`}
	messageChannel = field{name: `"channel"`}
	messageData    = field{name: `"data"`}
)

var (
	errNoEvent   = errors.New("message without an event")
	errNoChannel = errors.New("event without a channel")
	errDataText  = errors.New("data of an event that is no text")
)

// pusherPong answers a pusher:ping.
const pusherPong = `{"event":"pusher:pong","data":{}}`

// Parse reads a message of the server.
func (pusher) Parse(dst []Message, text []byte) ([]Message, error) {
	var name, channel string
	var data []byte
	w := walkJSON(text)
	for w.next() {
		switch {
		case w.is(messageEvent):
			name = w.text()
		case w.is(messageChannel):
			channel = w.text()
		case w.is(messageData):
			data = w.value
		}
	}
	switch own := strings.HasPrefix(name, "pusher:") || strings.HasPrefix(name, "pusher_internal:"); {
	case w.err != nil:
		return dst, w.err
	case name == "":
		return dst, errNoEvent
	case own:
		m, err := pusherWord(name, channel, data)
		return append(dst, m), err
	case channel == "":
		return dst, errNoChannel
	case len(data) == 0 || data[0] != '"':
		return dst, errDataText
	}
	return append(dst, Message{Kind: Event, Topic: channel, Data: []byte(unquote(data))}), nil
}

// pusherWord reads a message that is of the protocol itself.
func pusherWord(name, channel string, data []byte) (m Message, err error) {
	var in struct {
		Socket   string      `json:"socket_id"`
		Code     json.Number `json:"code"`
		Type     string      `json:"type"`
		UserData string      `json:"user_data"`
	}
	if len(data) > 0 && data[0] == '"' {
		data = []byte(unquote(data))
	}
	switch name {
	case "pusher:ping":
		return Message{Kind: Ping, Data: []byte(pusherPong)}, nil
	case "pusher:connection_established", "pusher:error", "pusher:subscription_error", "pusher:signin_success":
		if err = json.Unmarshal(data, &in); err != nil {
			return m, err
		}
	}
	switch name {
	case "pusher:connection_established":
		if in.Socket == "" {
			err = errors.New("connection without a socket_id")
		}
		return Message{Kind: Connected, Pong: true, Data: []byte(in.Socket)}, err
	case "pusher_internal:subscription_succeeded":
		if channel == "" {
			err = errNoChannel
		}
		return Message{Kind: Subscribed, Topic: channel}, err
	case "pusher:signin_success":
		var about struct{ ID string }
		err = json.Unmarshal([]byte(in.UserData), &about)
		return Message{Kind: Subscribed, Topic: serverToUser + about.ID}, err
	case "pusher:subscription_error":
		return Message{Kind: Failure, Topic: channel, Code: in.Type}, nil
	case "pusher:error":
		return pusherError(in.Code.String()), nil
	}
	return m, nil // such as pusher:pong
}

// pusherError is what a client makes of the code: from 4100 on it comes back after a second, from 4200 on at once. The close
// frame follows.
func pusherError(code string) Message {
	switch {
	case len(code) == 4 && code >= "4100" && code <= "4199":
		return Message{Kind: Goodbye, After: time.Second}
	case len(code) == 4 && code >= "4200" && code <= "4299":
		return Message{Kind: Goodbye}
	}
	return Message{Kind: Failure, Code: strings.TrimSuffix("pusher:error "+code, " ")}
}
