package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
	"wshub/session/token"
)

func (c *config) validatePresence() error {
	_, err := c.presence()
	if err == nil && len(c.Presence) == 0 && len(c.DefaultPresence) > 0 {
		err = errors.New("--default-presence: no topic has a presence (--presence)")
	}
	return err
}

// presence is what --presence says: whether a topic has a presence, as Pusher's channels have. nil: none has.
func (c *config) presence() (has func(topic string) bool, err error) {
	apps, err := c.pusherApps()
	if err != nil {
		return nil, err
	}
	named, err := matches("presence", c.Presence)
	if apps == nil || err != nil {
		return named, err
	}
	return func(topic string) bool {
		return slices.ContainsFunc(apps, func(a *pusher.App) bool { return a.HasPresence(topic) }) || named != nil && named(topic)
	}, nil
}

// presenceRights are those of sessions whose token does not say whose presence they may see. nil: session's own default.
func (c *config) presenceRights() (*token.Rights, error) {
	if len(c.DefaultPresence) == 0 {
		return nil, nil
	}
	rights, err := token.PresenceRights(c.DefaultPresence)
	if err != nil {
		return nil, fmt.Errorf("--default-presence: %w", err)
	}
	return rights, nil
}

// presenceConfig is the broker's. members are this hub's.
func (c *config) presenceConfig(members func(context.Context, byte, func(string, pubsub.Member)) error) (pubsub.PresenceConfig, error) {
	has, err := c.presence()
	return pubsub.PresenceConfig{Match: has, EventsMax: c.PresenceEventsMax, Grace: c.PresenceGrace, Members: members}, err
}

// presenceAPI is GET /api/presence?topic=…: who follows a topic, a page of limit behind the page whose next after is.
type presenceAPI struct {
	read func(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error)
}

// presenceAnswer says who follows a topic. Members are nil where nobody asked.
type presenceAnswer struct {
	Topic   string      `json:"topic"`
	Clients int         `json:"clients"`
	Users   int         `json:"users"`
	Members *[]attendee `json:"members,omitempty"`
	Next    string      `json:"next,omitempty"`
}

// attendee is a member as others see it.
type attendee struct {
	Session string          `json:"session"`
	User    string          `json:"user,omitempty"`
	Info    json.RawMessage `json:"info,omitempty"`
	Since   int64           `json:"since"`
}

// usualPage is how many members a page has unless the request says so.
const usualPage = 100

func (a presenceAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, after, limit, refusal := pageQuery(r.URL.RawQuery)
	if refusal != nil {
		refusal.write(w)
		return
	}
	p, err := a.read(r.Context(), topic, after, limit)
	if err != nil {
		presenceError(err).write(w)
		return
	}
	members := make([]attendee, len(p.Members))
	for i, m := range p.Members {
		members[i] = attendee{m.Session, m.User, m.Info, m.Since}
	}
	respond(w, http.StatusOK, presenceAnswer{topic, p.Clients, p.Users, &members, p.Next})
}

// pageQuery reads which page of which topic a query asks for.
func pageQuery(query string) (topic, after string, limit int, refusal *apiError) {
	values, err := url.ParseQuery(query)
	limit = usualPage
	for name, list := range values {
		if len(list) != 1 || name != "topic" && name != "after" && name != "limit" {
			err = errors.New("something else")
		}
	}
	if text := values.Get("limit"); text != "" && err == nil {
		limit, err = strconv.Atoi(text)
	}
	if err != nil || limit < 1 || limit > pubsub.MaxPresencePage {
		return "", "", 0, badRequest(session.BadRequest, fmt.Sprintf("want ?topic=…, and perhaps &limit=… of 1 to %d and &after=…, each once and percent-encoded", pubsub.MaxPresencePage))
	}
	if topic = values.Get("topic"); !pubsub.ValidTopic(topic) {
		return "", "", 0, badTopic()
	}
	return topic, values.Get("after"), limit, nil
}

// presenceStatsAPI is GET /api/presence_stats?topic=…: how many follow a topic.
type presenceStatsAPI struct {
	read func(ctx context.Context, topic, after string, limit int) (pubsub.Presence, error)
}

func (a presenceStatsAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, refusal := topicQuery(r.URL.RawQuery)
	if refusal != nil {
		refusal.write(w)
		return
	}
	p, err := a.read(r.Context(), topic, "", 0)
	if err != nil {
		presenceError(err).write(w)
		return
	}
	respond(w, http.StatusOK, presenceAnswer{Topic: topic, Clients: p.Clients, Users: p.Users})
}

// presenceError is the answer for a presence that was not read.
func presenceError(err error) *apiError {
	switch {
	case errors.Is(err, pubsub.ErrNoPresence):
		return &apiError{http.StatusNotFound, session.NoPresence, "the topic has no presence (--presence)"}
	case errors.Is(err, pubsub.ErrBadPage):
		return badRequest(session.BadRequest, "after: want the next of an answer about this topic")
	}
	return brokerError(err)
}
