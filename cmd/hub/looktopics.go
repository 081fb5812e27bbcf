package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"wshub/pubsub"
	"wshub/session"
)

const (
	// shownEvents and shownEventBytes bound a topic's last events in an answer.
	shownEvents, shownEventBytes = 100, 64 << 10
	// mostTopics bounds the topics of one answer.
	mostTopics = 1000
	// mostSample is the longest time over which a topic's rate is measured.
	mostSample = 5 * time.Second
)

// topicQuestion is what hubs are asked about a topic.
type topicQuestion struct {
	Topic  string
	Sample time.Duration
	events int // asked of no other hub: all have the same log
}

// topicHere is a topic at one hub.
type topicHere struct {
	Node string `json:"node,omitempty"`
	session.TopicView
	Rate  *float64    `json:"rate,omitempty"` // none where nobody follows
	Count *eventCount `json:",omitempty"`     // between hubs only
}

// topicShown is a topic of all hubs.
type topicShown struct {
	Topic      string           `json:"topic"`
	Kept       bool             `json:"kept"`
	Position   string           `json:"position,omitempty"`
	Total      uint64           `json:"events_total,omitempty"`
	Followers  int              `json:"followers"`
	Waiting    int              `json:"waiting"`
	Rate       *float64         `json:"rate,omitempty"`
	RateOverMs int64            `json:"rate_over_ms,omitempty"`
	Nodes      []topicHere      `json:"nodes"`
	Events     []eventShown     `json:"events"`
	HistoryOut string           `json:"history_error,omitempty"`
	Publish    *topicPublishing `json:"publish,omitempty"`
	unheard
}

// eventShown is an event as an operator sees it.
type eventShown struct {
	Position string            `json:"position,omitempty"`
	Time     time.Time         `json:"time"`
	Data     json.RawMessage   `json:"data,omitempty"`
	Bytes    int               `json:"bytes,omitempty"` // of data that is too long to be shown
	Name     string            `json:"name,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Info     json.RawMessage   `json:"info,omitempty"`
}

// shownData bounds the data of one event that is shown, in bytes.
const shownData = 16 << 10

// showEvent shows ev, which came at a time; with a zero one, at the time of its position.
func showEvent(ev *pubsub.Event, at time.Time) eventShown {
	shown := eventShown{Time: at.UTC()}
	if !ev.Position.IsZero() {
		shown.Position = ev.Position.String()
		if at.IsZero() {
			shown.Time = time.UnixMilli(int64(ev.Position.ID.Ms)).UTC()
		}
	}
	if len(ev.Data) > shownData {
		shown.Bytes = len(ev.Data)
	} else {
		shown.Data = ev.Data
	}
	if a := ev.Attributes; a != nil {
		shown.Name, shown.Tags, shown.Info = a.Name, a.Tags, a.Info
	}
	return shown
}

// topicPublishing is how a raw event of a topic is published.
type topicPublishing struct {
	Partition int    `json:"partition"`
	Channel   string `json:"channel"`
	Command   string `json:"command"`
}

func (l *looks) addTopics(channel func(topic string) (string, bool)) {
	handle(l, "topic", l.topicHere)
	handle(l, "events", func(_ context.Context, topic string) (*eventCount, error) { return l.meters.read(topic), nil })
	get(l, "/api/topic", func(q *query) topicQuestion {
		asked := topicQuestion{
			Topic:  q.must("name", pubsub.ValidTopic),
			Sample: q.duration("sample", time.Second, 0, mostSample),
			events: q.number("events", 10, 0, shownEvents),
		}
		q.extra = asked.Sample
		return asked
	}, func(ctx context.Context, nodes []string, q topicQuestion) (any, error) {
		return l.topic(ctx, nodes, q, channel)
	})

	handle(l, "topics", func(ctx context.Context, q topicsQuestion) (topicsAnswer, error) {
		match := func(topic string) bool { return strings.HasPrefix(topic, q.Prefix) }
		top, matched, err := l.hub.TopTopics(ctx, match, min(max(q.Limit, 1), mostTopics))
		return topicsAnswer{fitTopics(top), matched}, err
	})
	handle(l, "count", func(ctx context.Context, names []string) ([]session.TopicCount, error) {
		counts, err := l.hub.CountTopics(ctx, names[:min(len(names), mostTopics)])
		return fitTopics(counts), err
	})
	get(l, "/api/topics", func(q *query) topicsQuestion {
		asked := topicsQuestion{q.text("prefix", ""), q.number("limit", 100, 1, mostTopics)}
		if q.bad == "" && asked.Prefix != "" && !pubsub.ValidTopic(asked.Prefix) {
			q.bad = "prefix: want the beginning of a topic's name"
		}
		return asked
	}, l.topics)
}

// topicHere looks at a topic on this hub.
func (l *looks) topicHere(ctx context.Context, q topicQuestion) (here topicHere, err error) {
	if !pubsub.ValidTopic(q.Topic) {
		return here, session.ErrBadTarget
	}
	if here.TopicView, err = l.hub.Topic(ctx, q.Topic); err != nil {
		return here, err
	}
	if here.Followers > 0 && q.Sample > 0 {
		here.Count = l.meters.begin(q.Topic)
	}
	return here, nil
}

func (l *looks) topic(ctx context.Context, nodes []string, q topicQuestion, channel func(string) (string, bool)) (any, error) {
	all := topicShown{Topic: q.Topic, Nodes: []topicHere{}, Events: []eventShown{}, Kept: l.hub.Keeps(q.Topic)}
	var reading sync.WaitGroup // beside the questions: a hub that is silent takes their time
	if all.Kept {
		reading.Go(func() { l.showHistory(ctx, &all, q.events) })
	}
	first, cancel := halfOf(ctx, q.Sample)
	replies, of, err := askAll[topicHere](first, l, nodes, "topic", q)
	cancel()
	var rates map[string]float64
	if err == nil {
		rates = l.rates(ctx, q, replies)
	}
	reading.Wait()
	if err != nil {
		return nil, err
	}
	all.unheard = of
	for _, r := range replies {
		here := r.answer
		here.Node, here.Count = r.node, nil
		if rate, ok := rates[r.node]; ok {
			here.Rate = &rate
			if all.Rate == nil || rate > *all.Rate { // each hub gets all
				all.Rate, all.RateOverMs = here.Rate, q.Sample.Milliseconds()
			}
		}
		all.Nodes = append(all.Nodes, here)
		all.Followers += here.Followers
		all.Waiting += here.Waiting
	}
	if name, sharded := channel(q.Topic); name != "" {
		all.Publish = &topicPublishing{pubsub.Partition(q.Topic), name, publishCommand(sharded)}
	}
	return all, nil
}

// rates asks the hubs that count the topic's events a second time, behind the sample.
func (l *looks) rates(ctx context.Context, q topicQuestion, first []said[topicHere]) map[string]float64 {
	before := make(map[string]*eventCount)
	var nodes []string
	for _, r := range first {
		if r.answer.Count != nil {
			before[r.node] = r.answer.Count
			nodes = append(nodes, r.node)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	timer := time.NewTimer(q.Sample)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	replies, _, err := askAll[*eventCount](ctx, l, nodes, "events", q.Topic)
	if err != nil {
		return nil
	}
	rates := make(map[string]float64)
	for _, r := range replies {
		if a, b := before[r.node], r.answer; b != nil && b.Over > a.Over && b.Seen >= a.Seen {
			rates[r.node] = float64(b.Seen-a.Seen) / (b.Over - a.Over).Seconds()
		}
	}
	return rates
}

// showHistory adds to t the last events of its log.
func (l *looks) showHistory(ctx context.Context, t *topicShown, events int) {
	replay, err := l.hub.Replay(ctx, t.Topic, pubsub.Position{}, pubsub.Limit{Events: events, Bytes: shownEventBytes, Backwards: true})
	if err != nil {
		t.HistoryOut = "the history can't be read: " + unavailable(err)
		return
	}
	t.Position = replay.Head.String()
	for i, ev := range replay.Events {
		if i == 0 {
			t.Total = ev.Number
		}
		t.Events = append(t.Events, showEvent(ev, time.Time{}))
	}
}

// topicsQuestion is what hubs are asked about the topics of one name's beginning.
type topicsQuestion struct {
	Prefix string
	Limit  int
}

type topicsAnswer struct {
	Topics  []session.TopicCount `json:"topics"`
	Matched int                  `json:"matched"`
}

func (l *looks) topics(ctx context.Context, nodes []string, q topicsQuestion) (any, error) {
	first, cancel := halfOf(ctx, 0)
	defer cancel()
	replies, of, err := askAll[topicsAnswer](first, l, nodes, "topics", q)
	if err != nil {
		return nil, err
	}
	all := struct {
		topicsAnswer
		More bool `json:"more"`
		unheard
	}{topicsAnswer{Topics: []session.TopicCount{}}, false, of}
	followers := make(map[string]int)
	var answered []string
	for _, r := range replies {
		answered = append(answered, r.node)
		all.Matched += r.answer.Matched
		all.More = all.More || r.answer.Matched > len(r.answer.Topics)
		for _, t := range r.answer.Topics {
			followers[t.Topic] += t.Followers
		}
	}
	all.Topics = append(all.Topics, top(followers, q.Limit)...)
	all.More = all.More || len(followers) > q.Limit
	if all.More && len(answered) > 1 { // a hub may have more of them than it said
		l.recount(ctx, answered, followers, all.Topics)
		all.Topics = append(all.Topics[:0], top(followers, q.Limit)...)
	}
	return all, nil
}

// recount has nodes count list's topics exactly, into followers, as far as all of them answer.
func (l *looks) recount(ctx context.Context, nodes []string, followers map[string]int, list []session.TopicCount) {
	for some := range slices.Chunk(list, mostTopics/25) { // of the longest names so many are a question
		names := make([]string, len(some))
		for i, t := range some {
			names[i] = t.Topic
		}
		replies, _, err := askAll[[]session.TopicCount](ctx, l, nodes, "count", names)
		if err != nil || len(replies) < len(nodes) {
			return
		}
		counted := make(map[string]int)
		for _, r := range replies {
			for _, t := range r.answer {
				counted[t.Topic] += t.Followers
			}
		}
		for _, name := range names {
			followers[name] = counted[name]
		}
	}
}

// top are the topics that most follow.
func top(followers map[string]int, most int) (list []session.TopicCount) {
	for name, n := range followers {
		list = append(list, session.TopicCount{Topic: name, Followers: n})
	}
	slices.SortFunc(list, session.CompareTopics)
	return list[:min(len(list), most)]
}

// fitTopics leaves out the last ones until list is short enough to be sent.
func fitTopics(list []session.TopicCount) []session.TopicCount {
	size := 0
	for i, t := range list {
		text, err := json.Marshal(t)
		if size += len(text) + 1; err != nil || size > lookBytes-1<<10 {
			return list[:i]
		}
	}
	return list
}
