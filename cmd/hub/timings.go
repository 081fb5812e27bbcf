package main

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// timings are how long the hub takes for what clients wait for. Its methods may be called from any goroutine.
type timings struct {
	handshake, publish, roundTrip, fanout, delivery, try prometheus.Histogram
	// ahead is how far the broker's clock was ahead of this machine's when somebody last looked, in nanoseconds.
	ahead atomic.Int64
}

// timeBounds are the upper bounds of the histograms' buckets, in seconds: from a tenth of a millisecond, which is a write or
// two, to the 10 s of a handshake's default timeout.
var timeBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newTimings() *timings {
	next := func() prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seconds", Buckets: timeBounds})
	}
	return &timings{handshake: next(), publish: next(), roundTrip: next(), fanout: next(), delivery: next(), try: next()}
}

// watchEngine has t take the times of handshakes.
func (t *timings) watchEngine(cfg *engine.Config) {
	cfg.OnUpgraded = func(took time.Duration) { t.handshake.Observe(took.Seconds()) }
}

// watchSession has t take the times of publications and of events.
func (t *timings) watchSession(cfg *session.Config) {
	cfg.OnPublished = func(took time.Duration) { t.publish.Observe(took.Seconds()) }
	cfg.OnFanout = func(ev *pubsub.Event, took time.Duration) {
		t.fanout.Observe(took.Seconds())
		if ms := ev.Position.ID.Ms; ms != 0 {
			// A position may be ahead of the broker's clock, after a failover by up to a minute: such events have no age. How
			// far the two clocks differ is known to within some ms.
			if age := time.Since(time.UnixMilli(int64(ms))) + time.Duration(t.ahead.Load()); age > -time.Second {
				t.delivery.Observe(max(age, 0).Seconds())
			}
		}
	}
}

// watchRedis has t take a round trip to Redis.
func (t *timings) watchRedis(took time.Duration) { t.roundTrip.Observe(took.Seconds()) }

// watchTry has t take a request to a webhook's endpoint.
func (t *timings) watchTry(took time.Duration) { t.try.Observe(took.Seconds()) }

// distribution is what h has counted.
func distribution(h prometheus.Histogram) pubsub.Distribution {
	var m dto.Metric
	if h.Write(&m) != nil {
		return pubsub.Distribution{}
	}
	counted := m.GetHistogram()
	d := pubsub.Distribution{
		Buckets: make(map[float64]uint64, len(counted.Bucket)),
		Count:   counted.GetSampleCount(),
		Sum:     time.Duration(counted.GetSampleSum() * float64(time.Second)),
	}
	for _, b := range counted.Bucket {
		d.Buckets[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	return d
}
