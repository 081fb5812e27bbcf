package session

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"wshub/pubsub"
)

// Watched is an event of a topic that is watched, or with a nil Event the news of a gap.
type Watched struct {
	Topic string
	Event *pubsub.Event
	Time  time.Time // when it came to the loop
}

// Watch is somebody who sees the events of a topic and is no session. All its methods may be called from anywhere.
type Watch struct {
	// Fixed at birth.
	topic string
	shard *shard
	rate  int
	came  chan struct{} // has room for one: there is something to take

	mu      sync.Mutex
	allowed bucket // the events that it may see now
	queue   []Watched
	bytes   int // of queue
	seen    uint64
	skipped uint64
}

const (
	// watchedEvents and watchedBytes bound what waits for a Watch to be taken; what comes over it is skipped.
	watchedEvents, watchedBytes = 1024, 1 << 20
)

var watchSeed = maphash.MakeSeed()

// Watch follows a topic, of a valid name, on behalf of an operator, on one loop, until Close. It keeps up to rate events a second, 0 to 1,000,
// until they are taken, and counts the others. Nobody waits for it.
func (h *Hub) Watch(topic string, rate int) *Watch {
	w := &Watch{topic: topic, rate: rate, came: make(chan struct{}, 1)}
	w.shard = h.shards[maphash.String(watchSeed, topic)%uint64(len(h.shards))]
	w.shard.loop.Post(func() { w.shard.addWatch(w) })
	return w
}

// Close ends it. Call it once.
func (w *Watch) Close() { w.shard.loop.Post(func() { w.shard.unwatch(w) }) }

// Came gets a value when there is something to Take.
func (w *Watch) Came() <-chan struct{} { return w.came }

// Take returns the events that were kept, in order, and counts those that were skipped since it was last called.
func (w *Watch) Take() (events []Watched, skipped uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, skipped = w.queue, w.skipped
	w.queue, w.bytes, w.skipped = nil, 0, 0
	return events, skipped
}

// Seen counts the topic's events since Watch, those that were skipped included.
func (w *Watch) Seen() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// addWatch makes w one of the topic's watches.
func (sh *shard) addWatch(w *Watch) {
	t := sh.topic(w.topic)
	if sh.watches == nil {
		sh.watches = make(map[string][]*Watch)
	}
	sh.watches[w.topic] = append(sh.watches[w.topic], w)
	t.shown = true
	if !t.confirmed && !t.asked {
		sh.follow(t)
	}
}

// unwatch ends w.
func (sh *shard) unwatch(w *Watch) {
	left := slices.DeleteFunc(sh.watches[w.topic], func(other *Watch) bool { return other == w })
	if len(left) > 0 {
		sh.watches[w.topic] = left
		return
	}
	delete(sh.watches, w.topic)
	if t := sh.topics.get(w.topic); t != nil {
		t.shown = false
		sh.forget(t)
	}
}

// show shows t's batch, which begins, to those who watch.
func (sh *shard) show(t *topic) {
	now, clock := sh.hub.now(), sh.hub.clock()
	for _, w := range sh.watches[t.name] {
		w.take(t.ext.batch, now, clock)
	}
}

// take keeps of batch what there is room for, and leaves out news of the presence: an event or a gap is all that a Watch
// tells of. It does not block but for a short lock.
func (w *Watch) take(batch []*message, now time.Time, clock uint32) {
	w.mu.Lock()
	for _, m := range batch {
		if m.news != nil {
			continue
		}
		if m.event != nil {
			w.seen++
		}
		if len(w.queue) >= watchedEvents || w.bytes+m.size() > watchedBytes || w.rate == 0 || !w.allowed.spendAbove(clock, w.rate, w.rate, 0) {
			w.skipped++
			continue
		}
		w.queue = append(w.queue, Watched{w.topic, m.event, now})
		w.bytes += m.size()
	}
	w.mu.Unlock()
	select {
	case w.came <- struct{}{}:
	default:
	}
}
