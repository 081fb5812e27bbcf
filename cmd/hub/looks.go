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
	"time"

	"golang.org/x/sync/semaphore"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/fleet"
	"wshub/session/reasons"
)

// This file is how an operator's question becomes one to all hubs, and their answers one. Each look is a kind of question
// of package fleet: a func that answers for this hub, and one that joins the answers of all.

const (
	// lookTime is how long other hubs are waited for where the query does not say; leastLook and mostLook bound what it
	// may say.
	lookTime, leastLook, mostLook = 2 * time.Second, 100 * time.Millisecond, 10 * time.Second
	// maxLooks bounds the looks that one hub's control port has under way. One more is told to come again.
	maxLooks = 16
	// lookBytes bounds a hub's answer: a little less than fleet lets through.
	lookBytes = fleet.MaxAnswer - 1<<10
)

// asker is a fleet.Fleet.
type asker interface {
	Ask(ctx context.Context, nodes []string, kind string, args []byte) (answers []fleet.Answer, silent []string, err error)
	Handle(kind string, answer fleet.Handler)
}

// looks are all looks of one hub.
type looks struct {
	node   string
	fleet  asker
	hub    lookedAt
	engine func() engine.Stats
	meters *meters
	room   *semaphore.Weighted
	routes map[string]http.Handler // by path, all GET
}

// lookedAt is what looks need of a session.Hub.
type lookedAt interface {
	View(ctx context.Context, target session.Target) ([]session.SessionView, bool, error)
	Slow(ctx context.Context) ([]session.SlowView, int, error)
	Busiest(ctx context.Context) (session.Busiest, error)
	Topic(ctx context.Context, name string) (session.TopicView, error)
	TopTopics(ctx context.Context, match func(topic string) bool, most int) ([]session.TopicCount, int, error)
	CountTopics(ctx context.Context, names []string) ([]session.TopicCount, error)
	Watch(topic string, rate int) *session.Watch
	Trace(user string, d time.Duration) error
	TraceLines(user string, from uint64) (lines []session.TraceLine, next, missed uint64, err error)
	Keeps(topic string) bool
	Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error)
}

// newLooks makes the looks of a hub, and has it answer those of others.
func newLooks(node string, f asker, hub *session.Hub, from sources) *looks {
	return &looks{node: node, fleet: f, hub: hub, engine: from.engine, meters: newMeters(hub.Watch), room: semaphore.NewWeighted(maxLooks), routes: make(map[string]http.Handler)}
}

// add adds all looks.
func (l *looks) add(s *settings, counts *sampler, state nodeState, channel func(topic string) (string, bool), list func() []reasons.Reason) {
	l.addUsers()
	l.addBusy()
	l.addTopics(channel)
	l.addNodes(state, counts)
	l.addReasons(list, counts)
	l.addSettings(s)
	l.addTraceLines()
	l.addTrace()
}

// said is what one hub said to a question.
type said[A any] struct {
	node   string
	answer A
}

// unheard is what every answer to a look has besides: who did not answer, and who could not.
type unheard struct {
	// Silent are living hubs that did not answer in time.
	Silent []string `json:"silent"`
	// Failed are those that answered with an error.
	Failed []failure `json:"failed,omitempty"`
	// Alone says why other hubs could not be asked.
	Alone string `json:"alone,omitempty"`
}

type failure struct {
	Node  string `json:"node"`
	Error string `json:"error"`
}

// handle has f answer a kind of question for this hub.
func handle[Q, A any](l *looks, kind string, f func(ctx context.Context, q Q) (A, error)) {
	l.fleet.Handle(kind, func(ctx context.Context, args []byte) ([]byte, error) {
		var q Q
		if err := json.Unmarshal(args, &q); err != nil {
			return nil, errors.New("the question can't be read")
		}
		answer, err := f(ctx, q)
		if err != nil {
			return nil, lookError(err)
		}
		return json.Marshal(answer)
	})
}

// lookError is what another hub is told of err.
func lookError(err error) error {
	switch {
	case errors.Is(err, pubsub.ErrUnavailable):
		return errors.New("not done in time")
	case errors.Is(err, session.ErrTooMany):
		return session.ErrTooMany
	}
	return errors.New("internal error")
}

// askAll has nodes, or with nil all hubs, answer q.
func askAll[A any](ctx context.Context, l *looks, nodes []string, kind string, q any) (replies []said[A], of unheard, err error) {
	args, err := json.Marshal(q)
	if err != nil {
		return nil, of, err
	}
	answers, silent, err := l.fleet.Ask(ctx, nodes, kind, args)
	switch {
	case errors.Is(err, fleet.ErrBusy), errors.Is(err, fleet.ErrTooLarge):
		return nil, of, err
	case err != nil:
		of.Alone = "other hubs can't be asked: " + unavailable(err)
	}
	of.Silent = append([]string{}, silent...)
	for _, a := range answers {
		r := said[A]{node: a.Node}
		if a.Err == nil {
			a.Err = json.Unmarshal(a.Data, &r.answer)
		}
		if a.Err != nil {
			of.Failed = append(of.Failed, failure{a.Node, a.Err.Error()})
			continue
		}
		replies = append(replies, r)
	}
	return replies, of, nil
}

// halfOf is ctx for the first of two questions: half of the time without later, which passes between them. A silent hub takes all that it has.
func halfOf(ctx context.Context, later time.Duration) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	left := time.Until(until) - later
	if !ok || left <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, left/2)
}

// unavailable says why the broker could not be asked, without its own words, which may hold an address.
func unavailable(err error) string {
	if errors.Is(err, pubsub.ErrRefused) {
		return "Redis refuses it"
	}
	return "Redis does not answer"
}

// get makes the look at a path: read makes a question of a query, do answers it.
func get[Q any](l *looks, path string, read func(*query) Q, do func(ctx context.Context, nodes []string, q Q) (any, error)) {
	l.routes[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := newQuery(r.URL.RawQuery)
		q := read(values)
		wait := values.duration("timeout", values.least(lookTime), leastLook, mostLook)
		var nodes []string
		if node := values.text("node", ""); node != "" {
			nodes = []string{node}
		}
		if refusal := values.refusal(); refusal != nil {
			refusal.write(w)
			return
		}
		if !l.room.TryAcquire(1) {
			busy := &apiError{http.StatusServiceUnavailable, session.Busy, "too many looks at once, try again"}
			busy.write(w)
			return
		}
		defer l.room.Release(1)
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		answer, err := do(ctx, nodes, q)
		if err != nil {
			lookRefusal(err).write(w)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		respond(w, http.StatusOK, answer)
	})
}

// lookRefusal is what who looks is told of err.
func lookRefusal(err error) *apiError {
	if errors.Is(err, fleet.ErrBusy) {
		return &apiError{http.StatusServiceUnavailable, session.Busy, "too many questions between hubs at once, try again"}
	}
	return brokerError(err)
}

// query reads a request's query: each parameter once, and none that is unknown.
type query struct {
	values url.Values
	known  []string
	extra  time.Duration // that the look itself takes
	bad    string
}

func newQuery(raw string) *query {
	values, err := url.ParseQuery(raw)
	q := &query{values: values}
	if err != nil {
		q.bad = "the query is malformed"
	}
	return q
}

// least is d, and what the look itself takes.
func (q *query) least(d time.Duration) time.Duration { return min(d+q.extra, mostLook) }

func (q *query) text(name, otherwise string) string {
	q.known = append(q.known, name)
	switch list := q.values[name]; len(list) {
	case 0:
		return otherwise
	case 1:
		return list[0]
	}
	q.bad = name + " is given twice"
	return ""
}

// must is text that can't be left out, and that ok accepts.
func (q *query) must(name string, ok func(string) bool) string {
	text := q.text(name, "")
	if q.bad == "" && !ok(text) {
		q.bad = fmt.Sprintf("want ?%s=…, percent-encoded, with 1 to %d bytes and no control characters", name, pubsub.MaxTopic)
	}
	return text
}

func (q *query) number(name string, otherwise, low, high int) int {
	text := q.text(name, strconv.Itoa(otherwise))
	n, err := strconv.Atoi(text)
	if q.bad == "" && (err != nil || n < low || n > high) {
		q.bad = fmt.Sprintf("%s: want a number, %d to %d", name, low, high)
	}
	return n
}

func (q *query) duration(name string, otherwise, low, high time.Duration) time.Duration {
	text := q.text(name, otherwise.String())
	d, err := time.ParseDuration(text)
	if q.bad == "" && (err != nil || d < low || d > high) {
		q.bad = fmt.Sprintf("%s: want a time, %s to %s", name, low, high)
	}
	return d
}

func (q *query) oneOf(name string, words ...string) string {
	text := q.text(name, "")
	if q.bad == "" && text != "" && !slices.Contains(words, text) {
		q.bad = fmt.Sprintf("%s: want one of %q", name, words)
	}
	return text
}

// refusal is nil if all was well.
func (q *query) refusal() *apiError {
	for name := range q.values {
		if q.bad == "" && !slices.Contains(q.known, name) {
			q.bad = fmt.Sprintf("%.64q is no parameter here; there are %q", name, q.known)
		}
	}
	if q.bad == "" {
		return nil
	}
	return badRequest(session.BadRequest, q.bad)
}
