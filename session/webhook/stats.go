package webhook

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wshub/pubsub"
)

// stats count what happened at one hook.
type stats struct {
	delivered, dead, lost atomic.Uint64
	tries                 [numKinds]atomic.Uint64
}

// Stats is what happened so far.
type Stats struct {
	// Events are entries by their end: delivered, dead (given up), or lost (trimmed from the stream before this hub could
	// read them).
	Events map[string]uint64
	// Tries are requests by their result.
	Tries map[string]uint64
	// Lag is the age of the oldest entry that this hub has read and not delivered, by the URL's host; of several of one host, the
	// longest.
	Lag map[string]time.Duration
	// Streams are the streams that this hub posts from, by the URL's host.
	Streams map[string]int
}

// Results are the keys of Stats.Tries.
func Results() []string { return kindNames[:] }

// Stats is what happened so far.
func (w *Webhooks) Stats() Stats {
	s := Stats{
		Events: map[string]uint64{"delivered": 0, "dead": 0, "lost": 0},
		Tries:  map[string]uint64{}, Lag: map[string]time.Duration{}, Streams: map[string]int{},
	}
	for _, h := range w.hooks {
		s.Events["delivered"] += h.stats.delivered.Load()
		s.Events["dead"] += h.stats.dead.Load()
		s.Events["lost"] += h.stats.lost.Load()
		for k := range h.stats.tries {
			s.Tries[kindNames[k]] += h.stats.tries[k].Load()
		}
		s.Lag[h.host] = max(s.Lag[h.host], h.reader.Lag())
		s.Streams[h.host] += h.reader.Streams()
	}
	return s
}

const (
	// stillFailing is the time between two lines on an endpoint that fails on.
	stillFailing = 10 * time.Minute
	// toldOutages bounds the outages that are logged in that time: an endpoint may fail every other time.
	toldOutages = 5
)

// health is whether an endpoint has taken the last batch. It says so in the log when that changes.
type health struct {
	mu       sync.Mutex
	since    time.Time // of the outage, zero while the endpoint is well
	line     time.Time // the last one on it, zero if there was none
	failures int       // in this outage
	window   time.Time
	outages  int // that were logged since window
}

// failed notes a failed try, and logs the first one of an outage, and one now and then.
func (h *health) failed(log zerolog.Logger, why *failure, b *pubsub.LifecycleBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.failures++; h.since.IsZero() {
		h.since = now
		if now.Sub(h.window) >= stillFailing {
			h.window, h.outages = now, 0
		}
		h.outages++
	}
	if h.outages > toldOutages && now.Sub(h.since) < stillFailing || !h.line.IsZero() && now.Sub(h.line) < stillFailing {
		return
	}
	h.line = now
	log.Warn().Err(why).Str("result", kindNames[why.kind]).Int("failures", h.failures).Str("stream", b.Stream).
		Str("remedy", remedies[why.kind]).Msg("webhook: the endpoint does not take events; they are tried again")
}

// recovered notes that a batch was taken, and logs the end of an outage that was logged.
func (h *health) recovered(log zerolog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.line.IsZero() {
		log.Info().Int("failures", h.failures).Dur("after", time.Since(h.since)).Msg("webhook: the endpoint takes events again")
	}
	h.since, h.line, h.failures = time.Time{}, time.Time{}, 0
}
