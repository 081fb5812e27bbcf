package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"wshub/pubsub"
	"wshub/session"
)

// subscribeAPI is POST /api/subscribe: {"user"} or {"session"}, and "topic"; "since" is where they left off there. The
// answer is {} once every node that can be reached is told.
type subscribeAPI struct {
	do func(context.Context, session.Target, session.Following) error
}

func (a subscribeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		target
		Topic string  `json:"topic"`
		Since *string `json:"since"`
	}
	serveTarget(w, r, &in, `{"user":…} or {"session":…}, "topic", and "since" if something was missed`, func(ctx context.Context) *apiError {
		f := session.Following{Topic: in.Topic}
		if in.Since != nil {
			since, err := pubsub.ParsePosition(*in.Since)
			if err != nil {
				return badRequest(session.BadRequest, "since: want a position as the hub gave it, or \"0\"")
			}
			f.Since = &since
		}
		return inTopic(in.Topic, func() error { return a.do(ctx, in.sessions(), f) })
	})
}

// unsubscribeAPI is POST /api/unsubscribe: {"user"} or {"session"}, and "topic".
type unsubscribeAPI struct {
	do func(ctx context.Context, target session.Target, topic string) error
}

func (a unsubscribeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		target
		Topic string `json:"topic"`
	}
	serveTarget(w, r, &in, `{"user":…} or {"session":…}, and "topic"`, func(ctx context.Context) *apiError {
		return inTopic(in.Topic, func() error { return a.do(ctx, in.sessions(), in.Topic) })
	})
}

// inTopic does what names a topic, if that is one.
func inTopic(topic string, do func() error) *apiError {
	if !pubsub.ValidTopic(topic) {
		return badTopic()
	}
	return outcome(do())
}

// refreshAPI is POST /api/refresh: {"user"} or {"session"}, and when their tokens end: "expire_at", or now with
// "expired":true.
type refreshAPI struct {
	do func(ctx context.Context, target session.Target, expires time.Time) error
}

func (a refreshAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		target
		Expired  bool            `json:"expired"`
		ExpireAt json.RawMessage `json:"expire_at"`
	}
	serveTarget(w, r, &in, `{"user":…} or {"session":…}, and "expired":true or "expire_at"`, func(ctx context.Context) *apiError {
		expires, ok := parseBefore(in.ExpireAt)
		switch {
		case string(in.ExpireAt) == "0":
			expires, ok = time.Time{}, true
		case in.Expired:
			expires = time.Now()
		case in.ExpireAt == nil:
			ok = false
		}
		if !ok || in.Expired && in.ExpireAt != nil {
			return badRequest(session.BadRequest, `want either "expired":true or "expire_at" in seconds since 1970, 0 for never`)
		}
		return outcome(a.do(ctx, in.sessions(), expires))
	})
}
