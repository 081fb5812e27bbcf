package session

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"wshub/pubsub"
)

// puppet is a Broker that does each thing when the test says so, and as the test says.
type puppet struct {
	sink pubsub.Sink // set by Run

	mu       sync.Mutex
	logs     map[string]*puppetLog
	follows  []puppetFollow
	reads    []*puppetRead
	late     bool     // what is published is delivered later
	owed     []func() // the deliveries
	readings uint64   // see pubsub.Replay
	ready    chan struct{}
}

// puppetLog is a topic's history: all that was published, of which what lies before first has been trimmed.
type puppetLog struct {
	events []*pubsub.Event
	first  int
	heard  bool // the hub follows the topic: what is published is delivered
}

type puppetFollow struct {
	topic string
	done  func(error)
}

type puppetRead struct {
	topic  string
	since  pubsub.Position
	limit  pubsub.Limit
	answer chan error // nil: as the log is
}

const puppetEpoch = 7

func newPuppet() *puppet {
	return &puppet{logs: make(map[string]*puppetLog), ready: make(chan struct{})}
}

func (p *puppet) Run(ctx context.Context, sink pubsub.Sink) error {
	p.sink = sink
	close(p.ready)
	<-ctx.Done()
	return nil
}

func (p *puppet) Ready() error                                    { return nil }
func (p *puppet) Notify(context.Context, string, []byte) error    { return nil }
func (p *puppet) RemoveHistory(context.Context, string) error     { return nil }
func (p *puppet) Revoke(context.Context, pubsub.Revocation) error { return nil }

func (p *puppet) ChangePresence(_ context.Context, batch []pubsub.Change) []error {
	return make([]error, len(batch))
}

func (p *puppet) ReadPresence(context.Context, string, string, int) (pubsub.Presence, error) {
	return pubsub.Presence{}, pubsub.ErrNoPresence
}

func (p *puppet) RepairPresence(string) {}

func (p *puppet) log(topic string) *puppetLog {
	if p.logs[topic] == nil {
		p.logs[topic] = &puppetLog{}
	}
	return p.logs[topic]
}

func (p *puppet) Follow(topic string, _ int, done func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log(topic).heard = true
	p.follows = append(p.follows, puppetFollow{topic, done})
}

func (p *puppet) Unfollow(topic string, _ int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log(topic).heard = false
}

func (p *puppet) Publish(_ context.Context, batch []pubsub.Publication) []pubsub.Result {
	results := make([]pubsub.Result, len(batch))
	for i := range batch {
		results[i].Position = p.publish(batch[i].Topic, batch[i].Data)
	}
	return results
}

// keeps tells which topics have a history.
func (p *puppet) keeps(topic string) bool { return !strings.HasPrefix(topic, "raw") }

func (p *puppet) position(n int) pubsub.Position {
	return pubsub.Position{Epoch: puppetEpoch, ID: pubsub.ID{Ms: 1_000_000 + uint64(n), Seq: min(uint64(n), 1)}}
}

// publish adds an event; its data is its number and a filler.
func (p *puppet) publish(topic string, filler []byte) pubsub.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log(topic)
	n := len(l.events) + 1
	ev := &pubsub.Event{Topic: topic, Data: fmt.Appendf(nil, `[%d,%q]`, n, filler)}
	if p.keeps(topic) {
		ev.Position, ev.Number = p.position(n), uint64(n)
	}
	l.events = append(l.events, ev)
	p.deliver(l, func() { p.sink.Deliver(ev, 1); p.sink.HandOver() })
	return ev.Position
}

// deliver calls f now or later, if the hub hears of the topic at all. The caller holds mu.
func (p *puppet) deliver(l *puppetLog, f func()) {
	switch {
	case !l.heard:
	case p.late:
		p.owed = append(p.owed, f)
	default:
		f()
	}
}

// punctual delivers what is late.
func (p *puppet) punctual() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.owed {
		f()
	}
	p.late, p.owed = false, nil
}

// answerOne answers what was asked first, a follow or else a read.
func (p *puppet) answerOne(err error) {
	p.mu.Lock()
	var done func(error)
	switch {
	case len(p.follows) > 0:
		done = p.follows[0].done
		p.follows = p.follows[1:]
	case len(p.reads) > 0:
		p.reads[0].answer <- err
		p.reads = p.reads[1:]
	}
	p.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// gap loses everything of a topic's log up to now, and says so.
func (p *puppet) gap(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, at := p.log(topic), pubsub.Position{}
	if p.keeps(topic) {
		at = p.position(len(l.events))
	}
	p.readings++
	read := p.readings
	p.deliver(l, func() { p.sink.Gap(topic, 1, pubsub.Loss{At: at, Read: read}); p.sink.HandOver() })
}

func (p *puppet) Replay(ctx context.Context, topic string, since pubsub.Position, limit pubsub.Limit) (pubsub.Replay, error) {
	r := &puppetRead{topic, since, limit, make(chan error, 1)}
	p.mu.Lock()
	p.reads = append(p.reads, r)
	p.mu.Unlock()
	select {
	case err := <-r.answer:
		if err != nil {
			return pubsub.Replay{}, err
		}
	case <-ctx.Done():
		return pubsub.Replay{}, pubsub.ErrUnavailable
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log(topic)
	from := 0
	if !since.IsZero() {
		from = int(since.ID.Ms - 1_000_000)
	}
	p.readings++
	replay := pubsub.Replay{Head: p.position(len(l.events)), Read: p.readings}
	if since.Epoch == puppetEpoch || since.IsZero() {
		if from >= l.first && from <= len(l.events) {
			replay.Recovered, replay.Missed = true, len(l.events)-from
		}
		if from <= len(l.events) {
			replay.Events = page(limit, l.events[max(from, l.first):])
		}
	}
	return replay, nil
}

func page(l pubsub.Limit, events []*pubsub.Event) []*pubsub.Event {
	bytes := 0
	for i, ev := range events {
		bytes += len(ev.Data)
		if i == l.Events || i > 0 && l.Bytes > 0 && bytes > l.Bytes {
			return events[:i]
		}
	}
	return events
}
