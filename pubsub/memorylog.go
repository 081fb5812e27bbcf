package pubsub

import (
	"bytes"
	"context"
	"sort"
	"time"
)

// memoryLog is what a Memory keeps of a topic. It stays, bare of events, for a record's life.
type memoryLog struct {
	topic  string
	last   ID
	number uint64 // of last
	events []*keptEvent
	// older and newer are its neighbours among the bare ones.
	older, newer *memoryLog
}

// log is topic's, made if there is none.
func (m *Memory) log(topic string) *memoryLog {
	l, ok := m.logs.get(topic)
	if !ok {
		l = &memoryLog{topic: topic}
		m.logs.set(topic, l)
		m.kept.begin(l)
	}
	return l
}

// end forgets a log without events.
func (m *Memory) end(l *memoryLog) {
	m.logs.delete(l.topic)
	m.kept.end(l)
}

// add gives ev the next position and keeps it as long as rule says.
func (m *Memory) add(l *memoryLog, ev *Event, now uint64, rule HistoryRule) {
	id := ID{Ms: now, Seq: 1}
	switch {
	case l.last.IsZero():
		id.Ms = max(id.Ms, m.kept.forgotten+1) // no log of this topic that was forgotten has it
	case id.Compare(l.last) <= 0:
		id = l.last.next()
	}
	if spare := cap(ev.Data) - len(ev.Data); spare > 64+len(ev.Data)/8 {
		ev.Data = bytes.Clone(ev.Data) // what is behind it would be kept, too
	}
	l.number++
	ev.Position, ev.Before, ev.Number, l.last = Position{m.epoch, id}, l.last, l.number, id
	m.kept.add(&keptEvent{Event: ev, log: l})
	m.trim(l, now, rule)
	m.fit()
}

// trim drops events that are too old or too many.
func (m *Memory) trim(l *memoryLog, now uint64, rule HistoryRule) {
	for len(l.events) > rule.Count || len(l.events) > 0 && older(now, l.events[0].Position.ID, rule.Age) {
		m.kept.shift(l)
	}
}

// behind returns the first of l's events behind since, as many as limit lets in.
func (l *memoryLog) behind(since ID, limit Limit) (page []*Event) {
	first := sort.Search(len(l.events), func(i int) bool { return l.events[i].Position.ID.Compare(since) > 0 })
	total := 0
	for _, e := range l.events[first:] {
		if total += e.bytes(); !limit.admits(len(page), total) {
			break
		}
		page = append(page, e.Event)
	}
	return page
}

// older reports whether id is of a time at least age before now.
func older(now uint64, id ID, age time.Duration) bool {
	return now >= id.Ms+uint64(age.Milliseconds())
}

// sweepBatch is how many logs are swept while publishers wait: about 0.1 ms.
const sweepBatch = 512

// sweep drops events that are too old from every log, and logs whose record's life is over.
func (m *Memory) sweep() {
	m.order.Lock()
	defer m.order.Unlock()
	now, seen := m.now(), 0
	for topic, l := range m.logs.all {
		if seen++; seen%sweepBatch == 0 {
			m.order.Unlock()
			m.order.Lock()
		}
		if current, _ := m.logs.get(topic); current != l {
			continue
		}
		rule, _ := m.cfg.History.For(topic)
		m.trim(l, now, rule)
		if older(now, l.last, rule.Age+m.cfg.RecordLife) {
			m.end(l)
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
	if limit.Backwards {
		return m.newest(topic, since, limit, rule), nil
	}
	// A place must be behind all that was forgotten, to be told from the places before it.
	x := excerpt{epoch: m.epoch, now: max(m.now(), m.kept.forgotten+1), life: rule.Age + m.cfg.RecordLife, forgotten: m.kept.forgotten}
	if l, ok := m.logs.get(topic); ok && !older(x.now, l.last, x.life) {
		m.trim(l, x.now, rule)
		x.last, x.number, x.newest = l.last, l.number, l.last
		x.events = l.behind(since.ID, limit.reading(since))
	}
	return x.replay(since, limit), nil
}
