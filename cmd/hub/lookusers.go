package main

import (
	"context"
	"encoding/json"
	"slices"

	"wshub/pubsub"
	"wshub/session"
)

// shownSessions bounds the sessions of one answer to the operator, of all hubs.
const shownSessions = 1000

// sessionHere is a session and where it is.
type sessionHere struct {
	Node string `json:"node"`
	session.SessionView
}

// sessionsAnswer is one hub's, or that of all.
type sessionsAnswer[S any] struct {
	Sessions []S  `json:"sessions"`
	More     bool `json:"more"`
}

func (l *looks) addUsers() {
	handle(l, "sessions", func(ctx context.Context, target session.Target) (sessionsAnswer[session.SessionView], error) {
		views, more, err := l.hub.View(ctx, target)
		return fitSessions(sessionsAnswer[session.SessionView]{views, more}), err
	})
	get(l, "/api/user", func(q *query) session.Target {
		return session.Target{User: q.must("id", func(user string) bool { return user != "" && pubsub.ValidTopic("user:"+user) })}
	}, l.sessions)
	get(l, "/api/session", func(q *query) session.Target {
		name := q.text("id", "")
		if q.bad == "" && !session.ValidName(name) {
			q.bad = "want ?id=s_…, a session's name as welcome tells it"
		}
		return session.Target{Session: name}
	}, l.sessions)

	handle(l, "slow", func(ctx context.Context, _ struct{}) (slowAnswer, error) {
		worst, waiting, err := l.hub.Slow(ctx)
		return slowAnswer{worst, waiting, l.engine().Backlog}, err
	})
	get(l, "/api/slow", func(*query) struct{} { return struct{}{} }, l.slow)
}

// sessions shows those that target names.
func (l *looks) sessions(ctx context.Context, nodes []string, target session.Target) (any, error) {
	replies, of, err := askAll[sessionsAnswer[session.SessionView]](ctx, l, nodes, "sessions", target)
	if err != nil {
		return nil, err
	}
	all := sessionsAnswer[sessionHere]{Sessions: []sessionHere{}}
	for _, r := range replies {
		all.More = all.More || r.answer.More
		for _, v := range r.answer.Sessions {
			all.Sessions = append(all.Sessions, sessionHere{r.node, v})
		}
	}
	if len(all.Sessions) > shownSessions {
		all.Sessions, all.More = all.Sessions[:shownSessions], true
	}
	return struct {
		sessionsAnswer[sessionHere]
		unheard
	}{all, of}, nil
}

// fitSessions leaves out topics, and at last sessions, until a is short enough to be sent.
func fitSessions(a sessionsAnswer[session.SessionView]) sessionsAnswer[session.SessionView] {
	longest := 0
	for _, v := range a.Sessions {
		longest = max(longest, len(v.Topics))
	}
	for most := longest / 2; len(a.Sessions) > 0; most /= 2 {
		if text, err := json.Marshal(a); err != nil || len(text) <= lookBytes {
			break
		}
		for i := range a.Sessions {
			topics := &a.Sessions[i].Topics
			*topics = (*topics)[:min(len(*topics), most)]
		}
		if most == 0 {
			a.Sessions, a.More = a.Sessions[:len(a.Sessions)/2], true
		}
	}
	return a
}

// slowAnswer is one hub's.
type slowAnswer struct {
	Sessions []session.SlowView `json:"sessions"`
	Waiting  int                `json:"waiting"`
	Backlog  int64              `json:"backlog_bytes"`
}

// slowHere is a slow consumer and where it is.
type slowHere struct {
	Node string `json:"node"`
	session.SlowView
}

// shownSlow bounds the slow consumers of one answer, of all hubs.
const shownSlow = 20

func (l *looks) slow(ctx context.Context, nodes []string, q struct{}) (any, error) {
	replies, of, err := askAll[slowAnswer](ctx, l, nodes, "slow", q)
	if err != nil {
		return nil, err
	}
	all := struct {
		Sessions []slowHere `json:"sessions"`
		Waiting  int        `json:"waiting"`
		Backlog  int64      `json:"backlog_bytes"`
		unheard
	}{Sessions: []slowHere{}, unheard: of}
	for _, r := range replies {
		all.Waiting += r.answer.Waiting
		all.Backlog += r.answer.Backlog
		for _, v := range r.answer.Sessions {
			all.Sessions = append(all.Sessions, slowHere{r.node, v})
		}
	}
	slices.SortStableFunc(all.Sessions, func(a, b slowHere) int { return session.CompareSlow(a.SlowView, b.SlowView) })
	all.Sessions = all.Sessions[:min(len(all.Sessions), shownSlow)]
	return all, nil
}
