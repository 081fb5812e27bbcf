package main

import (
	"sync"
	"time"

	"wshub/session"
)

const (
	// maxMeters bounds the topics whose events are counted at one time.
	maxMeters = 64
	// meterLife is how long they are counted behind the last look.
	meterLife = 15 * time.Second
)

// meters count the events of topics that somebody looks at, and of no other.
type meters struct {
	watch func(topic string, rate int) *session.Watch

	mu  sync.Mutex
	all map[string]*meter
}

type meter struct {
	*session.Watch
	since time.Time
	end   *time.Timer
}

// eventCount is how many events of a topic have come in a time.
type eventCount struct {
	Seen uint64
	Over time.Duration
}

func newMeters(watch func(topic string, rate int) *session.Watch) *meters {
	return &meters{watch: watch, all: make(map[string]*meter)}
}

// begin begins to count the events of a topic, unless that has begun, and is what was counted; nil where too many are counted.
func (ms *meters) begin(topic string) *eventCount {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.all[topic]; m != nil {
		return m.read()
	}
	if len(ms.all) == maxMeters {
		return nil
	}
	m := &meter{Watch: ms.watch(topic, 0), since: time.Now()}
	m.end = time.AfterFunc(meterLife, func() { ms.forget(topic, m) })
	ms.all[topic] = m
	return m.read()
}

// read is what was counted of a topic since begin, nil where it is not counted.
func (ms *meters) read(topic string) *eventCount {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.all[topic]; m != nil {
		return m.read()
	}
	return nil
}

// read is what m has counted, and has it count on. Under meters.mu.
func (m *meter) read() *eventCount {
	if m.end.Stop() {
		m.end.Reset(meterLife)
	}
	return &eventCount{m.Seen(), time.Since(m.since)}
}

// forget ends a meter.
func (ms *meters) forget(topic string, m *meter) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	delete(ms.all, topic)
	m.Close()
}
