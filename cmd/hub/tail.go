package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"wshub/pubsub"
	"wshub/session"
)

const (
	// maxTails bounds the tails of one hub.
	maxTails = 16
	// defaultTailRate and mostTailRate are lines per second of one tail.
	defaultTailRate, mostTailRate = 50, 1000
	// tailBeat is the time without a line after which one is sent all the same, tailWrite how long the reader may take for
	// one write.
	tailBeat, tailWrite = 10 * time.Second, 15 * time.Second
	// tailBuffer is about how much may be on its way to a reader, in bytes, before it counts as one that takes nothing: with
	// the kernel's own some MB, so that one who reads no more would keep its place for long.
	tailBuffer = 64 << 10
	// longestTail is how long a tail lasts where the query does not say.
	longestTail = 24 * time.Hour
	// tailAsk is how often the other hubs are asked for the lines of a trace, and skipped lines are told.
	tailAsk = time.Second
)

// tailLine is one line of a tail.
type tailLine struct {
	Kind string    `json:"kind"` // begin, event, gap, trace, skipped, silent, beat or end
	Time time.Time `json:"time"`
	Node string    `json:"node,omitempty"`
	User string    `json:"user,omitempty"`
	*tailEvent
	*tailTrace
	Skipped uint64   `json:"events,omitempty"`
	Nodes   []string `json:"nodes,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// tails are GET /api/tail, for those who have the key of the API.
type tails struct {
	looks *looks
	write time.Duration // that a reader may take for one write
	ended chan struct{} // closed when the hub ends
	once  sync.Once
	room  chan struct{}
}

func newTails(l *looks) *tails {
	return &tails{looks: l, write: tailWrite, ended: make(chan struct{}), room: make(chan struct{}, maxTails)}
}

// end ends all tails.
func (t *tails) end() { t.once.Do(func() { close(t.ended) }) }

// ServeHTTP implements http.Handler.
func (t *tails) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r.URL.RawQuery)
	topic, user, rate := q.text("topic", ""), q.text("user", ""), q.number("rate", defaultTailRate, 1, mostTailRate)
	limit := q.duration("for", longestTail, time.Second, longestTail)
	if user != "" {
		topic += "user:" + user
	}
	if q.bad == "" && (!pubsub.ValidTopic(topic) || user != "" && q.values.Has("topic")) {
		q.bad = "want either ?topic=… or ?user=…, percent-encoded, without control characters"
	}
	if refusal := q.refusal(); refusal != nil {
		refusal.write(w)
		return
	}
	select {
	case t.room <- struct{}{}:
		defer func() { <-t.room }()
	default:
		tooMany(fmt.Sprintf("%d tails are open on this hub", maxTails)).write(w)
		return
	}
	boundWrites(r, tailBuffer)
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	t.serve(ctx, w, topic, user, rate)
}

func tooMany(why string) *apiError {
	return &apiError{http.StatusTooManyRequests, "too_many", why}
}

// serve streams until the reader is gone or the hub ends.
func (t *tails) serve(ctx context.Context, w http.ResponseWriter, topic, user string, rate int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &tailWriter{to: w, control: http.NewResponseController(w), limit: t.write}
	if out.control.SetReadDeadline(time.Time{}) != nil { // that of the request would end the stream
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would gather lines
	watch := t.looks.hub.Watch(topic, rate)
	defer watch.Close()
	var traced <-chan []tailLine
	if user != "" {
		lines := make(chan []tailLine)
		var asking sync.WaitGroup
		asking.Go(func() { t.follow(ctx, user, rate, lines) })
		defer asking.Wait()
		defer cancel()
		traced = lines
	}
	out.write(tailLine{Kind: "begin", Node: t.looks.node, User: user, tailEvent: &tailEvent{Topic: topic}})
	t.copy(ctx, out, watch, traced)
}

// copy writes what comes.
func (t *tails) copy(ctx context.Context, out *tailWriter, watch *session.Watch, traced <-chan []tailLine) {
	second := time.NewTicker(tailAsk)
	defer second.Stop()
	skipped := uint64(0)
	for out.err == nil {
		select {
		case <-watch.Came():
			events, more := watch.Take()
			skipped += more
			out.write(eventLines(events)...)
		case lines := <-traced:
			out.write(lines...)
		case <-second.C:
			if skipped > 0 {
				out.write(tailLine{Kind: "skipped", Skipped: skipped})
				skipped = 0
			}
			if time.Since(out.wrote) >= tailBeat {
				out.write(tailLine{Kind: "beat"})
			}
		case <-t.ended:
			out.write(tailLine{Kind: "end", Reason: "the hub ends"})
			return
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				out.write(tailLine{Kind: "end", Reason: "its time is over"})
			}
			return
		}
	}
}

// tailEvent is the part of a line that tells of a topic.
type tailEvent struct {
	Topic string `json:"topic"`
	*eventBody
}

// eventBody is eventShown without its time.
type eventBody struct {
	Position string            `json:"position,omitempty"`
	Data     json.RawMessage   `json:"data,omitempty"`
	Bytes    int               `json:"bytes,omitempty"`
	Name     string            `json:"name,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Info     json.RawMessage   `json:"info,omitempty"`
}

func eventLines(events []session.Watched) (lines []tailLine) {
	for _, e := range events {
		line := tailLine{Kind: "gap", Time: e.Time.UTC(), tailEvent: &tailEvent{Topic: e.Topic}}
		if e.Event != nil {
			shown := showEvent(e.Event, e.Time)
			line.Kind = "event"
			line.eventBody = &eventBody{shown.Position, shown.Data, shown.Bytes, shown.Name, shown.Tags, shown.Info}
		}
		lines = append(lines, line)
	}
	return lines
}

// tailWriter writes lines. After an error it writes nothing more.
type tailWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration // for one write
	wrote   time.Time
	err     error
}

// write writes lines, and waits for a reader that is slow, but not for long.
func (w *tailWriter) write(lines ...tailLine) {
	encoder := json.NewEncoder(w.to)
	for _, line := range lines {
		if w.err != nil {
			return
		}
		if line.Time.IsZero() {
			line.Time = time.Now().UTC()
		}
		if w.err = w.control.SetWriteDeadline(time.Now().Add(w.limit)); w.err == nil {
			w.err = encoder.Encode(line)
		}
	}
	if len(lines) > 0 && w.err == nil {
		w.err = w.control.Flush()
		w.wrote = time.Now()
	}
}

// tailTrace is the part of a line that tells of a user's session.
type tailTrace struct {
	What    string                     `json:"what"`
	Session string                     `json:"session,omitempty"`
	Fields  map[string]json.RawMessage `json:"fields,omitempty"`
}

// traceQuestion asks hubs for the lines of a trace from a number on, by hub.
type traceQuestion struct {
	User string
	From map[string]uint64
}

// traceAnswer is one hub's.
type traceAnswer struct {
	Lines        []session.TraceLine
	Next, Missed uint64
}

func (l *looks) addTraceLines() {
	handle(l, "trace-lines", func(_ context.Context, q traceQuestion) (traceAnswer, error) {
		lines, next, missed, err := l.hub.TraceLines(q.User, q.From[l.node])
		return fitLines(traceAnswer{lines, next, missed}), err
	})
}

// fitLines leaves out the first lines until a is short enough to be sent.
func fitLines(a traceAnswer) traceAnswer {
	for {
		if text, err := json.Marshal(a); err != nil || len(text) <= lookBytes {
			return a
		}
		half := (len(a.Lines) + 1) / 2
		a.Lines, a.Missed = a.Lines[half:], a.Missed+uint64(half)
	}
}

// follow asks all hubs for the lines of user's trace, once a second, until ctx ends.
func (t *tails) follow(ctx context.Context, user string, rate int, lines chan<- []tailLine) {
	tick := time.NewTicker(tailAsk)
	defer tick.Stop()
	q := traceQuestion{User: user, From: make(map[string]uint64)}
	var silent []string
	for {
		asked, cancel := context.WithTimeout(ctx, lookTime)
		replies, of, err := askAll[traceAnswer](asked, t.looks, nil, "trace-lines", q)
		cancel()
		if err == nil {
			var some []tailLine
			for _, f := range of.Failed {
				of.Silent = append(of.Silent, f.Node)
			}
			if !slices.Equal(silent, of.Silent) {
				silent = of.Silent
				some = append(some, tailLine{Kind: "silent", Nodes: silent})
			}
			some = append(some, traceLines(replies, q.From, rate)...)
			select {
			case lines <- some:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// traceLines are up to most of what hubs have answered, by time. It notes in from where to go on.
func traceLines(replies []said[traceAnswer], from map[string]uint64, most int) (lines []tailLine) {
	missed := uint64(0)
	for _, r := range replies {
		from[r.node] = r.answer.Next
		missed += r.answer.Missed
		for _, l := range r.answer.Lines {
			lines = append(lines, tailLine{Kind: "trace", Time: l.Time, Node: r.node, tailTrace: &tailTrace{l.What, l.Session, l.Fields}})
		}
	}
	slices.SortStableFunc(lines, func(a, b tailLine) int { return a.Time.Compare(b.Time) })
	if len(lines) > most {
		missed += uint64(len(lines) - most)
		lines = lines[:most]
	}
	if missed > 0 {
		lines = append(lines, tailLine{Kind: "skipped", Skipped: missed})
	}
	return lines
}
