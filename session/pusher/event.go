package pusher

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"wshub/pubsub"
)

const (
	// MaxEvent bounds the data of one event, in bytes.
	MaxEvent = 10 << 10
	// maxName bounds the name of an event, in bytes.
	maxName = 200
	// foreignName is the event that others' publications are.
	foreignName = "message"
)

// An event stands in its topic as {"event":name,"data":value}, and carries its name as an attribute, too: so it is told from
// what others publish. The value is the text that a backend gave if that is JSON, but for a JSON string; any other text is a
// JSON string of it. Of a client's event it is the data as the client sent it.

// ValidName reports whether name can be that of an event: 1 to 200 bytes.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name)
}

// Publication is an event of a backend: its data is any text. except is the socket that does not get it, "" for none.
func (a *App) Publication(channel, name, data, except string) pubsub.Publication {
	value := []byte(data)
	if text := strings.TrimLeft(data, " \t\r\n"); text == "" || text[0] == '"' || !json.Valid(value) {
		value = appendString(nil, data)
	}
	p := a.publication(channel, name, value)
	p.Attributes.Except = except
	return p
}

func (a *App) publication(channel, name string, value []byte) pubsub.Publication {
	data := append(envelope(name), value...)
	return pubsub.Publication{Topic: a.Topic(channel), Data: append(data, '}'), Attributes: &pubsub.Attributes{Name: name}}
}

// envelope is what stands before the value of an event.
func envelope(name string) []byte {
	return append(appendString([]byte(`{"event":`), name), `,"data":`...)
}

// nameAndValue are those of an event that anybody published.
func nameAndValue(ev *pubsub.Event) (name string, value []byte) {
	if ev.Attributes == nil || ev.Attributes.Name == "" {
		return foreignName, ev.Data
	}
	name = ev.Attributes.Name
	if value, ok := bytes.CutPrefix(ev.Data, envelope(name)); ok && len(value) > 1 {
		return name, value[:len(value)-1]
	}
	return name, ev.Data
}

// appendString appends text, which is UTF-8, as a JSON string.
func appendString[T ~string | ~[]byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// Cached is the data of the last event of a cache channel, and for how long it is kept from now on.
func Cached(ev *pubsub.Event, now time.Time) (data string, left time.Duration) {
	name, value := nameAndValue(ev)
	if name != foreignName && json.Unmarshal(value, &data) == nil {
		return data, cacheLeft(ev, now)
	}
	return string(value), cacheLeft(ev, now)
}

func cacheLeft(ev *pubsub.Event, now time.Time) time.Duration {
	return max(cacheTime-now.Sub(time.UnixMilli(int64(ev.Position.ID.Ms))), 0)
}
