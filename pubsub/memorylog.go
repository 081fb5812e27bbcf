package pubsub

import (
	"context"
	"slices"
	"sort"
	"time"
)

// memoryLog is what a Memory keeps of a topic. It stays, empty of events, for a record's life.
type memoryLog struct {
	last   ID
	number uint64 // of last
	events []*Event
}

// log is topic's, made if there is none.
func (m *Memory) log(topic string) *memoryLog {
	l, ok := m.logs.get(topic)
	if !ok {
		l = &memoryLog{}
		m.logs.set(topic, l)
	}
	return l
}

// add gives ev the next position and keeps it as long as rule says.
func (l *memoryLog) add(ev *Event, epoch, now uint64, rule HistoryRule) {
	id := ID{Ms: now, Seq: 1}
	if id.Compare(l.last) <= 0 {
		id = l.last.next()
	}
	l.number++
	ev.Position, ev.Before, ev.Number, l.last = Position{epoch, id}, l.last, l.number, id
	l.events = append(l.events, ev)
	l.trim(now, rule)
}

// trim forgets what is too old or too much.
func (l *memoryLog) trim(now uint64, rule HistoryRule) {
	first := max(0, len(l.events)-rule.Count)
	for first < len(l.events) && older(now, l.events[first].Position.ID, rule.Age) {
		first++
	}
	clear(l.events[:first])
	if l.events = l.events[first:]; len(l.events) == 0 {
		l.events = nil
	}
}

// older tells whether id is of a time at least age before now.
func older(now uint64, id ID, age time.Duration) bool {
	return now >= id.Ms+uint64(age.Milliseconds())
}

// sweep forgets what is too old in every log, and logs whose record's life is over.
func (m *Memory) sweep() {
	m.order.Lock()
	defer m.order.Unlock()
	now := m.now()
	for topic, l := range m.logs.all {
		rule, _ := m.cfg.History.For(topic)
		l.trim(now, rule)
		if older(now, l.last, rule.Age+m.cfg.RecordLife) {
			m.logs.delete(topic)
		}
	}
	m.once.forget(now)
}

// Replay implements Broker. It waits for no more than the Sink's calls.
func (m *Memory) Replay(_ context.Context, topic string, since Position, limit Limit) (Replay, error) {
	rule, keeps := m.cfg.History.For(topic)
	if !keeps {
		return Replay{}, nil
	}
	m.order.Lock()
	defer m.order.Unlock()
	m.stats.replaysMemory.Add(1)
	x := excerpt{epoch: m.epoch, now: m.now(), life: rule.Age + m.cfg.RecordLife}
	if l, ok := m.logs.get(topic); ok && !older(x.now, l.last, x.life) {
		l.trim(x.now, rule)
		first := sort.Search(len(l.events), func(i int) bool { return l.events[i].Position.ID.Compare(since.ID) > 0 })
		x.last, x.number, x.newest = l.last, l.number, l.last
		x.events = slices.Clone(limit.reading(since).page(l.events[first:]))
	}
	return x.replay(since, limit), nil
}

// onceTable holds the results of publications that have a key, for IdempotencyTime.
type onceTable struct {
	results table[onceName, Result]
	order   []onceUntil
}

type onceName struct{ topic, caller, key string }

// onceUntil says when a result's time is over.
type onceUntil struct {
	ms   uint64
	name onceName
}

// result is what became of p's first publication, if there was one.
func (t *onceTable) result(p *Publication, now uint64) (result Result, known bool) {
	if p.Key == "" {
		return Result{}, false
	}
	t.forget(now)
	return t.results.get(onceName{p.Topic, p.Caller, p.Key})
}

func (t *onceTable) remember(p *Publication, now uint64, result Result) {
	if p.Key == "" {
		return
	}
	name := onceName{p.Topic, p.Caller, p.Key}
	t.results.set(name, result)
	t.order = append(t.order, onceUntil{now + uint64(IdempotencyTime.Milliseconds()), name})
}

// forget drops the results whose time is over.
func (t *onceTable) forget(now uint64) {
	for len(t.order) > 0 && t.order[0].ms <= now {
		t.results.delete(t.order[0].name)
		t.order = t.order[1:]
	}
}
