package main

import (
	"net/http"
	"net/url"

	"wshub/pubsub"
	"wshub/session"
)

// channelAPI is GET /api/channel?topic=…: the Redis channel on which a backend may publish raw JSON for that topic, and
// the command for it.
type channelAPI struct {
	channel func(topic string) (channel string, sharded bool) // "" without a Redis
}

func (a channelAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, refusal := topicQuery(r.URL.RawQuery)
	if refusal != nil {
		refusal.write(w)
		return
	}
	channel, sharded := a.channel(topic)
	if channel == "" {
		noRedis := apiError{http.StatusNotFound, "no_redis", "this hub has no Redis, so a topic has no channel: use POST /api/publish"}
		noRedis.write(w)
		return
	}
	respond(w, http.StatusOK, struct {
		Topic     string `json:"topic"`
		Partition int    `json:"partition"`
		Channel   string `json:"channel"`
		Publish   string `json:"publish"`
	}{topic, pubsub.Partition(topic), channel, publishCommand(sharded)})
}

// publishCommand is the command of Redis that publishes on a channel.
func publishCommand(sharded bool) string {
	if sharded {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// topicQuery reads the topic from a request's query, which has nothing else.
func topicQuery(query string) (topic string, refusal *apiError) {
	values, err := url.ParseQuery(query)
	if topics := values["topic"]; err != nil || len(values) != 1 || len(topics) != 1 {
		return "", badRequest(session.BadRequest, "want ?topic=…, percent-encoded, once and nothing else")
	}
	if topic = values.Get("topic"); !pubsub.ValidTopic(topic) {
		return "", badTopic()
	}
	return topic, nil
}
