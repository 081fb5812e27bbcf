package pubsub

import (
	"sync/atomic"
	"time"
)

// silenceBounds are the upper bounds of Distribution's buckets.
var silenceBounds = [...]time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
}

// distribution counts durations by how long they are. Any goroutine may count.
type distribution struct {
	buckets [len(silenceBounds) + 1]atomic.Uint64 // the last one is of those beyond all bounds
	sum     atomic.Int64
}

func (d *distribution) count(t time.Duration) {
	i := 0
	for i < len(silenceBounds) && t > silenceBounds[i] {
		i++
	}
	d.buckets[i].Add(1)
	d.sum.Add(int64(t))
}

// Distribution is how often durations were how long: Buckets has, by upper bound in seconds, the number of those that
// were no longer.
type Distribution struct {
	Buckets map[float64]uint64
	Count   uint64
	Sum     time.Duration
}

func (d *distribution) snapshot() Distribution {
	s := Distribution{Buckets: make(map[float64]uint64, len(silenceBounds)), Sum: time.Duration(d.sum.Load())}
	for i := range d.buckets {
		s.Count += d.buckets[i].Load()
		if i < len(silenceBounds) {
			s.Buckets[silenceBounds[i].Seconds()] = s.Count
		}
	}
	return s
}
