package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

const (
	// sampleEvery is how often the counters are read, rateSamples over how many such times a rate goes.
	sampleEvery, rateSamples = time.Second, 5
	// causeEvery is how often the counters by cause are kept, causeSamples how many of them: a minute's.
	causeEvery, causeSamples = 10 * time.Second, 6
)

// sampler reads the hub's counters once a second, for all who look at rates.
type sampler struct {
	from sources

	mu     sync.Mutex
	last   []sample // the oldest first, up to rateSamples+1
	minute []causes // likewise, causeSamples
}

// sample is what counters were at one moment.
type sample struct {
	at                             time.Time
	messages, deliveries           uint64
	received, sent, opened, closed uint64
}

// causes is what counters by cause were at one moment.
type causes struct {
	at              time.Time
	closed, dropped map[string]uint64
	refused         map[string]uint64
	told            map[string]uint64 // errors, by code
	fanout          pubsub.Distribution
}

// ratesShown are means per second.
type ratesShown struct {
	Messages   float64 `json:"messages"`   // from clients
	Deliveries float64 `json:"deliveries"` // to followers
	Received   float64 `json:"received_bytes"`
	Sent       float64 `json:"sent_bytes"`
	Connects   float64 `json:"connects"`
	Closes     float64 `json:"closes"`
	OverMs     int64   `json:"over_ms"`
}

// causesShown are why clients went, since the start and lately.
type causesShown struct {
	Node          string            `json:"node"`
	Closed        map[string]uint64 `json:"closed"`
	ClosedLately  map[string]uint64 `json:"closed_lately"`
	Refused       map[string]uint64 `json:"refused"`
	RefusedLately map[string]uint64 `json:"refused_lately"`
	Dropped       map[string]uint64 `json:"dropped"`
	DroppedLately map[string]uint64 `json:"dropped_lately"`
	ErrorsLately  map[string]uint64 `json:"-"`
	LatelyMs      int64             `json:"lately_ms"`
}

func newSampler(from sources) *sampler {
	s := &sampler{from: from}
	s.read(time.Now())
	return s
}

// Run reads until ctx ends.
func (s *sampler) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.read(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// read takes a sample.
func (s *sampler) read(now time.Time) {
	e, hub := s.from.engine(), s.from.session()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, newSample(now, e, hub))
	s.last = s.last[max(len(s.last)-rateSamples-1, 0):]
	if n := len(s.minute); n == 0 || now.Sub(s.minute[n-1].at) >= causeEvery {
		s.minute = append(s.minute, s.newCauses(now, e, hub))
		s.minute = s.minute[max(n+1-causeSamples, 0):]
	}
}

func newSample(now time.Time, e engine.Stats, hub session.Stats) sample {
	at := sample{at: now, messages: hub.Messages, deliveries: hub.Deliveries, received: e.BytesIn, sent: e.BytesOut, opened: e.Upgraded}
	for _, n := range e.Closed {
		at.closed += n
	}
	return at
}

func (s *sampler) newCauses(now time.Time, e engine.Stats, hub session.Stats) causes {
	c := causes{at: now, closed: without(e.Closed), dropped: without(hub.Dropped), refused: without(byStatus(e.Refused)), told: without(hub.Errors)}
	if s.from.times != nil {
		c.fanout = distribution(s.from.times.fanout)
	}
	return c
}

// rates are those between the first sample and the last.
func (s *sampler) rates() ratesShown {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.last[0], s.last[len(s.last)-1]
	over := b.at.Sub(a.at)
	if over <= 0 {
		return ratesShown{}
	}
	per := func(from, to uint64) float64 { return float64(to-from) / over.Seconds() }
	return ratesShown{
		per(a.messages, b.messages), per(a.deliveries, b.deliveries), per(a.received, b.received), per(a.sent, b.sent),
		per(a.opened, b.opened), per(a.closed, b.closed), over.Milliseconds(),
	}
}

// fanout is the 99th percentile of the time that events of the last minute took to all followers; ok is false if there were
// none.
func (s *sampler) fanout() (p99 time.Duration, ok bool) {
	now := distribution(s.from.times.fanout)
	s.mu.Lock()
	defer s.mu.Unlock()
	return lengthOf(s.minute[0].fanout, now, 0.99)
}

// lengthOf is the percentile of the lengths that now has more than then, as far as the buckets tell: within one it rises evenly. Those
// beyond the last bucket are as long as that.
func lengthOf(then, now pubsub.Distribution, part float64) (length time.Duration, ok bool) {
	all := now.Count - then.Count
	wanted, low, below := part*float64(all), 0.0, 0.0
	for _, bound := range slices.Sorted(maps.Keys(now.Buckets)) {
		upTo := float64(now.Buckets[bound] - then.Buckets[bound])
		if upTo >= wanted && upTo > below {
			return time.Duration((low + (bound-low)*(wanted-below)/(upTo-below)) * float64(time.Second)), all > 0
		}
		low, below = bound, upTo
	}
	return time.Duration(low * float64(time.Second)), all > 0
}

// causes are those until now, and those of the last minute.
func (s *sampler) causes() causesShown {
	now := s.newCauses(time.Now(), s.from.engine(), s.from.session())
	s.mu.Lock()
	defer s.mu.Unlock()
	then := s.minute[0]
	return causesShown{
		Closed: now.closed, ClosedLately: less(now.closed, then.closed),
		Refused: now.refused, RefusedLately: less(now.refused, then.refused),
		Dropped: now.dropped, DroppedLately: less(now.dropped, then.dropped),
		ErrorsLately: less(now.told, then.told),
		LatelyMs:     now.at.Sub(then.at).Milliseconds(),
	}
}

// less is how much more of each reason there is in now than in then.
func less[K comparable](now, then map[K]uint64) map[K]uint64 {
	diff := make(map[K]uint64)
	for reason, n := range now {
		if more := n - then[reason]; more > 0 {
			diff[reason] = more
		}
	}
	return diff
}

// without drops what never came.
func without[K comparable](counted map[K]uint64) map[K]uint64 {
	counted = maps.Clone(counted)
	maps.DeleteFunc(counted, func(_ K, n uint64) bool { return n == 0 })
	return counted
}
