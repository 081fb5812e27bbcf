package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// This file is how sessions look to an operator. Looks run on the loops, a bounded part of them a turn, and keep nothing.

const (
	// viewedSessions bounds the sessions of one answer.
	viewedSessions = 100
	// viewsPerTurn are made in one turn: each costs two system calls, and a look at up to viewedTopics topics.
	viewsPerTurn = 16
	// viewedTopics bounds the topics of one session in an answer; fewTopics are shown however many sessions there are, and of
	// more only as many as make viewedInAll of a loop's: what is too long to be sent is not made.
	viewedTopics, fewTopics, viewedInAll = 128, 8, 1024
	// viewedSlow bounds the answer about those who read slowly.
	viewedSlow = 20
)

// SessionView is a session at one moment.
type SessionView struct {
	Session  string    `json:"session"`
	User     string    `json:"user,omitempty"`
	Protocol string    `json:"protocol"`
	Addr     string    `json:"addr,omitempty"`
	Since    time.Time `json:"since"` // or up to a minute before
	// HeardMs is how long ago bytes last came from the client, RTTMs the round trip to it, where the kernel says so.
	HeardMs    *int64   `json:"heard_ms,omitempty"`
	RTTMs      *float64 `json:"rtt_ms,omitempty"`
	PingInMs   int64    `json:"ping_in_ms"`
	AwaitsPong bool     `json:"awaits_pong"`
	// QueuedBytes wait for the kernel to take them, OwedBytes behind them.
	QueuedBytes  int            `json:"queued_bytes"`
	OwedBytes    int64          `json:"owed_bytes"`
	Lagging      bool           `json:"lagging"`
	Topics       []Subscription `json:"topics"` // viewedTopics of them
	TopicCount   int            `json:"topic_count"`
	TokenExpires *time.Time     `json:"token_expires,omitempty"`
	Resumed      bool           `json:"resumed"`
	ResumedAt    *time.Time     `json:"resumed_at,omitempty"`
	Traced       bool           `json:"traced"`
}

// Subscription is a topic that a session follows, or is about to.
type Subscription struct {
	Topic string `json:"topic"`
	// State is "follows", or the step of a subscription: see subscribing.
	State string `json:"state"`
	// Position is up to where the hub has handed over the topic's events, "" if that is not known.
	Position string `json:"position,omitempty"`
}

// stageNames are the steps of a subscription.
var stageNames = [...]string{asking: "asking", reading: "reading", gathered: "gathered", replaying: "replaying", trailing: "trailing", over: "over"}

// view is how s is now, with up to so many topics.
func (s *Session) view(topics int) SessionView {
	vitals := s.conn.Vitals()
	v := SessionView{
		Session: s.name(), User: s.user(), Protocol: s.protocol().Name(), Addr: addr(s.conn), Since: vitals.Since.UTC(),
		PingInMs: vitals.NextPing.Milliseconds(), AwaitsPong: vitals.AwaitsPong,
		QueuedBytes: s.conn.Queued(), OwedBytes: vitals.Owed, Lagging: s.lagging,
		Topics: s.viewTopics(topics), TopicCount: s.topics(), Traced: s.traced,
	}
	if vitals.Heard >= 0 {
		ms := vitals.Heard.Milliseconds()
		v.HeardMs = &ms
	}
	if vitals.RTT >= 0 {
		ms := float64(vitals.RTT.Microseconds()) / 1000
		v.RTTMs = &ms
	}
	if at := s.Expires(); !at.IsZero() {
		at = at.UTC()
		v.TokenExpires = &at
	}
	if s.generation != 0 {
		at := s.generation.time(s.shard.hub.now()).UTC()
		v.Resumed, v.ResumedAt = true, &at
	}
	return v
}

// viewTopics are the session's first topics.
func (s *Session) viewTopics(most int) []Subscription {
	list := make([]Subscription, 0, min(s.topics(), most))
	for _, sub := range s.subs[:min(len(s.subs), most)] {
		v := Subscription{Topic: sub.topic.name, State: "follows"}
		if at := sub.topic.last; !at.IsZero() {
			v.Position = at.String()
		}
		list = append(list, v)
	}
	if w := s.busy(); w != nil {
		for _, sub := range w.pending[:min(len(w.pending), most-len(list))] {
			v := Subscription{Topic: sub.t.name, State: stageNames[sub.stage]}
			if at := sub.cursor.ID; !at.IsZero() {
				v.Position = at.String()
			}
			list = append(list, v)
		}
	}
	return list
}

// time is when g was given, seen from now: a few days later it would be another one.
func (g generation) time(now time.Time) time.Time {
	ago := uint32(now.UnixNano()/int64(generationStep)) - uint32(g)
	return now.Add(-time.Duration(int32(ago)) * generationStep).Truncate(time.Millisecond)
}

// View shows the sessions of this node that target names, up to 100 of them; more says that there are more. ErrBadTarget, or
// ErrUnavailable if ctx ends before.
func (h *Hub) View(ctx context.Context, target Target) (views []SessionView, more bool, err error) {
	if err := target.validate(); err != nil {
		return nil, false, err
	}
	views, more, err = h.view(ctx, func(sh *shard) []*Session { return sh.some(target) })
	if err == nil && len(views) == 0 && target.User == "" { // no client was told the name, but a look may have been
		return h.viewUnnamed(ctx, target)
	}
	return views, more, err
}

// some returns the sessions that target names, on this loop; no more than can be shown, and one.
func (sh *shard) some(target Target) []*Session {
	if target.User != "" {
		return sh.members.some(userPrefix+target.User, viewedSessions+1)
	}
	return sh.find(target)
}

// view shows what find finds on each loop.
func (h *Hub) view(ctx context.Context, find func(*shard) []*Session) (views []SessionView, more bool, err error) {
	found, seen := make([][]SessionView, len(h.shards)), make(chan bool, len(h.shards))
	for i, sh := range h.shards {
		sh.loop.Post(func() {
			list := find(sh)
			shown := list[:min(len(list), viewedSessions)]
			topics := min(max(viewedInAll/max(len(shown), 1), fewTopics), viewedTopics)
			sh.viewAll(shown, topics, &found[i], func() { seen <- len(list) > viewedSessions })
		})
	}
	for range h.shards {
		select {
		case isMore := <-seen:
			more = more || isMore
		case <-ctx.Done():
			return nil, false, fmt.Errorf("look at sessions: %w: %w", pubsub.ErrUnavailable, ctx.Err())
		}
	}
	views = slices.Concat(found...)
	if len(views) > viewedSessions {
		views, more = views[:viewedSessions], true
	}
	return views, more, nil
}

// viewAll appends to views how the sessions of list are, with up to so many topics each, some a turn.
func (sh *shard) viewAll(list []*Session, topics int, views *[]SessionView, done func()) {
	n := min(len(list), viewsPerTurn)
	for _, s := range list[:n] {
		if s.Open() {
			*views = append(*views, s.view(topics))
		}
	}
	if n == len(list) {
		done()
		return
	}
	sh.loop.Post(func() { sh.viewAll(list[n:], topics, views, done) })
}

// viewUnnamed looks for a session through all connections.
func (h *Hub) viewUnnamed(ctx context.Context, target Target) ([]SessionView, bool, error) {
	id, _ := parseName(target.Session)
	found := make([][]*Session, len(h.shards))
	err := h.inParts(ctx, engine.Parts, func(sh *shard, part int) {
		own := &found[sh.loop.Index]
		if len(*own) > 0 {
			return
		}
		sh.loop.EachOf(part, func(c *engine.Conn) {
			if s, ok := c.Peer().(*Session); ok && s.id == id {
				*own = []*Session{s}
			}
		})
	})
	if err != nil || len(slices.Concat(found...)) == 0 {
		return nil, false, err
	}
	return h.view(ctx, func(sh *shard) []*Session { return found[sh.loop.Index] })
}

// SlowView is a session for which bytes wait.
type SlowView struct {
	Session     string `json:"session"`
	User        string `json:"user,omitempty"`
	Protocol    string `json:"protocol"`
	Addr        string `json:"addr,omitempty"`
	QueuedBytes int64  `json:"queued_bytes"`
	OwedBytes   int64  `json:"owed_bytes"`
	StillMs     int64  `json:"still_ms"` // since bytes last left
}

// slower is one for which more waits.
type slower struct {
	s *Session
	engine.Backlog
}

func (a slower) bytes() int64 { return a.Queued + a.Owed }

// Slow shows the 20 sessions of this node for which most bytes wait, the worst first, and counts all for which any do. ErrUnavailable
// if ctx ends before, which may take two seconds where many wait.
func (h *Hub) Slow(ctx context.Context) (worst []SlowView, waiting int, err error) {
	type found struct {
		views   []slower
		shown   []SlowView
		waiting int
	}
	all, seen := make([]found, len(h.shards)), make(chan struct{}, len(h.shards))
	for i, sh := range h.shards {
		own := &all[i]
		sh.loop.Post(func() {
			sh.loop.EachBacklog(func(c *engine.Conn, b engine.Backlog) {
				if s, ok := c.Peer().(*Session); ok {
					own.waiting++
					own.views = keepWorst(own.views, slower{s, b})
				}
			}, func() {
				for _, v := range own.views {
					own.shown = append(own.shown, v.view())
				}
				seen <- struct{}{}
			})
		})
	}
	for range h.shards {
		select {
		case <-seen:
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("look for slow consumers: %w: %w", pubsub.ErrUnavailable, ctx.Err())
		}
	}
	for _, own := range all {
		worst, waiting = append(worst, own.shown...), waiting+own.waiting
	}
	slices.SortFunc(worst, CompareSlow)
	return worst[:min(len(worst), viewedSlow)], waiting, nil
}

// CompareSlow orders the one for which more waits before.
func CompareSlow(a, b SlowView) int {
	return cmp.Compare(b.QueuedBytes+b.OwedBytes, a.QueuedBytes+a.OwedBytes)
}

// keepWorst puts v into worst, which holds those with most bytes, in order.
func keepWorst(worst []slower, v slower) []slower {
	if len(worst) == viewedSlow && worst[viewedSlow-1].bytes() >= v.bytes() {
		return worst
	}
	at, _ := slices.BinarySearchFunc(worst, v, func(a, b slower) int { return cmp.Compare(b.bytes(), a.bytes()) })
	worst = slices.Insert(worst, at, v)
	return worst[:min(len(worst), viewedSlow)]
}

func (a slower) view() SlowView {
	return SlowView{
		Session: a.s.name(), User: a.s.user(), Protocol: a.s.protocol().Name(), Addr: addr(a.s.conn),
		QueuedBytes: a.Queued, OwedBytes: a.Owed, StillMs: a.Still.Milliseconds(),
	}
}
