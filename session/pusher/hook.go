package pusher

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// Hook is the form of Pusher's webhooks: who comes to the channels of one application and leaves them. It is a webhook.Form.
type Hook struct{ app atomic.Pointer[App] }

// NewHook makes the form of the webhooks of app.
func NewHook(app *App) *Hook {
	h := &Hook{}
	h.app.Store(app)
	return h
}

// UseSecret has requests signed with another secret of the application from now on. It is not to be called twice at a time.
func (h *Hook) UseSecret(secret string) { h.app.Store(h.app.Load().WithSecret(secret)) }

// Reader implements webhook.Form.
func (h *Hook) Reader() string { return "pusher:" + h.app.Load().ID + ":" }

// hookEvent is an event of a webhook.
type hookEvent struct {
	Name    string `json:"name"`
	Channel string `json:"channel"`
	User    string `json:"user_id,omitempty"`
}

// hookNames are the events of a webhook by the types of the lifecycle's entries.
var hookNames = map[string]string{
	"topic_occupied": "channel_occupied", "topic_vacated": "channel_vacated", "user_joined": "member_added", "user_left": "member_removed",
}

// Body implements webhook.Form: {"time_ms":…,"events":[…]}. The time is that of the last event, so that a batch has the same body and
// signature each time.
func (h *Hook) Body(b *pubsub.LifecycleBatch) (body []byte, events int) {
	app := h.app.Load()
	var hook struct {
		Time   int64       `json:"time_ms"`
		Events []hookEvent `json:"events"`
	}
	for _, entry := range b.Entries {
		var e struct {
			Type, Topic, User string
			Time              int64
		}
		if json.Unmarshal(entry.Event, &e) != nil { // it is no hub's
			continue
		}
		if ev, ok := app.hookEvent(e.Type, e.Topic, e.User); ok {
			hook.Time, hook.Events = e.Time, append(hook.Events, ev)
		}
	}
	if len(hook.Events) == 0 {
		return nil, 0
	}
	body, err := json.Marshal(hook)
	if err != nil { // texts and numbers can always be marshalled
		return nil, 0
	}
	return body, len(hook.Events)
}

// hookEvent is the event of an entry. ok is false for what is none of a channel of the application. The channels of users are no
// backend's business: it sends to users by their names.
func (a *App) hookEvent(kind, topic, user string) (ev hookEvent, ok bool) {
	channel, ours := strings.CutPrefix(topic, a.Wall())
	ev = hookEvent{hookNames[kind], channel, user}
	_, ofUser := UserOf(channel)
	member := user != ""
	return ev, ours && ev.Name != "" && ValidChannel(channel) && !ofUser && (!member || IsPresence(channel))
}

// TellsUsers reports whether the members of topic are events of webhooks.
func (a *App) TellsUsers(topic string) bool {
	channel, ours := strings.CutPrefix(topic, a.Wall())
	return ours && IsPresence(channel) && ValidChannel(channel)
}

// Sign implements webhook.Form.
func (h *Hook) Sign(header http.Header, body []byte, _ time.Time) {
	app := h.app.Load()
	header.Set("X-Pusher-Key", app.Key)
	header.Set("X-Pusher-Signature", app.Sign(string(body)))
}
