package pusher

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// walled and shared are the formats of events: of topics behind a wall, and of the hub's own.
var (
	walled = newFormat(unwalled)
	shared = newFormat(func(topic string) string { return topic })
)

func newFormat(channelOf func(topic string) string) *session.Format {
	return session.NewFormat(session.Words{
		Event: func(ev *pubsub.Event) []byte { return eventFrame(channelOf(ev.Topic), ev) },
		Moved: func(m *pubsub.Moved) []byte { return movedFrame(channelOf(m.Topic), m) },
		Presence: func(topic string, p *pubsub.Presence) []byte {
			channel := channelOf(topic)
			user, watched := watchedUser(channel)
			switch {
			case watched:
				return watchFrame(user, p.Users > 0)
			case !IsPresence(channel):
				return countFrame(channel, p.Clients)
			case p.Members == nil: // too many to be told
				return nil
			}
			return frame(internalPrefix+"subscription_succeeded", channel, membersData(p))
		},
	})
}

// frame makes a frame whose data is a text; "" for no channel.
func frame(event, channel, data string) []byte {
	return textFrame(appendMessage(make([]byte, 0, 64+len(event)+len(channel)+len(data)), event, channel, appendString(nil, data)))
}

// appendMessage appends a message whose data is a JSON value.
func appendMessage(dst []byte, event, channel string, data []byte) []byte {
	dst = appendString(append(dst, `{"event":`...), event)
	if channel != "" {
		dst = appendString(append(dst, `,"channel":`...), channel)
	}
	dst = append(append(dst, `,"data":`...), data...)
	return append(dst, '}')
}

func textFrame(payload []byte) []byte {
	return engine.AppendFrame(make([]byte, 0, len(payload)+10), engine.OpText, payload)
}

// eventFrame makes the frame of an event. Its data is a JSON string of the text that a backend gave, but for a client's
// event, whose data is as the client sent it.
func eventFrame(channel string, ev *pubsub.Event) []byte {
	name, value := nameAndValue(ev)
	fromClient := strings.HasPrefix(name, clientPrefix)
	data := value
	if !fromClient && (len(value) == 0 || value[0] != '"' || name == foreignName) {
		data = appendString(make([]byte, 0, len(value)+len(value)/8+2), value)
	}
	dst := appendMessage(make([]byte, 0, 64+len(name)+len(channel)+len(data)), name, channel, data)
	if fromClient && IsPresence(channel) {
		if user := publisher(ev.Attributes.Info); user != "" {
			dst = appendString(append(dst[:len(dst)-1], `,"user_id":`...), user)
			dst = append(dst, '}')
		}
	}
	return textFrame(dst)
}

// publisher is the user that info says an event is of, "" for nobody's.
func publisher(info json.RawMessage) string {
	var who struct {
		User string `json:"user"`
	}
	_ = json.Unmarshal(info, &who) // nothing is told of who can't be read
	return who.User
}

// movedFrame makes the frame of a change: in a presence channel of a user who came or left, of a watched user who is online or
// is not any more, else of the count.
func movedFrame(channel string, m *pubsub.Moved) []byte {
	user, watched := watchedUser(channel)
	switch {
	case watched && (m.First || m.Last):
		return watchFrame(user, m.First)
	case watched:
		return nil
	case !IsPresence(channel):
		return countFrame(channel, m.Clients)
	case m.First:
		data := appendString([]byte(`{"user_id":`), m.Member.User)
		data = append(append(append(data, `,"user_info":`...), infoOrNull(m.Member.Info)...), '}')
		return frame(internalPrefix+"member_added", channel, string(data))
	case m.Last:
		data := append(appendString([]byte(`{"user_id":`), m.Member.User), '}')
		return frame(internalPrefix+"member_removed", channel, string(data))
	}
	return nil
}

// countFrame tells how many subscribe to a channel, nil for a user's own one.
func countFrame(channel string, n int) []byte {
	if strings.HasPrefix(channel, "#") {
		return nil
	}
	return frame(internalPrefix+"subscription_count", channel, `{"subscription_count":`+strconv.Itoa(n)+`}`)
}

func infoOrNull(info json.RawMessage) []byte {
	if len(info) == 0 {
		return []byte("null")
	}
	return info
}

// membersData is the data of the answer that has all members of a presence channel.
func membersData(p *pubsub.Presence) string {
	ids, hash := []byte{'['}, []byte{'{'}
	seen := make(map[string]bool, len(p.Members))
	for i := range p.Members {
		m := &p.Members[i]
		if m.User == "" || seen[m.User] {
			continue
		}
		if len(seen) > 0 {
			ids, hash = append(ids, ','), append(hash, ',')
		}
		seen[m.User] = true
		ids, hash = appendString(ids, m.User), appendString(hash, m.User)
		hash = append(append(hash, ':'), infoOrNull(m.Info)...)
	}
	var b bytes.Buffer
	b.WriteString(`{"presence":{"ids":`)
	b.Write(append(ids, ']'))
	b.WriteString(`,"hash":`)
	b.Write(append(hash, '}'))
	b.WriteString(`,"count":` + strconv.Itoa(len(seen)) + `}}`)
	return b.String()
}
