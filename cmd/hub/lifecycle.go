package main

import (
	"net/http"

	"wshub/pubsub"
	"wshub/session"
)

// lifecycle is what --lifecycle says.
func (c *config) lifecycle() pubsub.LifecycleConfig {
	readers := len(c.Webhook)+len(c.PusherWebhook) > 0
	return pubsub.LifecycleConfig{On: c.Lifecycle == "on", MaxEntries: c.LifecycleMax, Users: c.tellsUsers(), Readers: readers}
}

// lifecycleAPI is GET /api/lifecycle: the Redis streams of entries about sessions, users and topics.
type lifecycleAPI struct {
	config  pubsub.LifecycleConfig
	streams func() []string // as the broker's
}

func (a lifecycleAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" {
		badRequest(session.BadRequest, "want no query").write(w)
		return
	}
	streams := a.streams()
	if streams == nil {
		streams = []string{} // none is a list, too
	}
	respond(w, http.StatusOK, struct {
		On      bool     `json:"on"`
		Streams []string `json:"streams"`
		Max     int      `json:"max"`
	}{a.config.On, streams, a.config.MaxEntries})
}
