package pubsub

import "sync"

// delivery is the way to the Sink, which a connection's goroutines share.
type delivery struct {
	// mu is held across Sink calls, which makes them one at a time. It owns all chains, and is locked
	// before the table of follows.
	mu     sync.Mutex
	sink   Sink
	recent recents
	// reading numbers the readings of logs, from 1 on.
	reading uint64
}

func (d *delivery) begin(sink Sink) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sink = sink
}

// unlock gives mu back, and hands over what was said to the Sink.
func (d *delivery) unlock() {
	if d.sink != nil {
		d.sink.HandOver()
	}
	d.mu.Unlock()
}

// handOver says that nothing more is heard for now.
func (d *delivery) handOver() {
	d.mu.Lock()
	d.unlock()
}

// forget lets the recent events go of topics that nobody follows any more.
func (d *delivery) forget(gone []*chain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range gone {
		d.recent.drop(c)
		delete(d.recent.removed, c)
	}
}

// arrive takes an event from pub/sub to its followers, unless it has to wait for what is missing; the feed hands it over
// before it waits for more. It is false if there are no followers. checked says that its data is known to have no fault.
func (s *subscriber) arrive(channel string, ev Event, checked bool) bool {
	d := &s.delivery
	d.mu.Lock()
	defer d.mu.Unlock()
	loops, c, sure := s.follows.followers(channel)
	if loops == 0 && c == nil {
		return false
	}
	if !checked {
		if why, ok := fault(ev.Data, s.cfg.MaxMessage); !ok {
			s.drop(why, channel)
			return true
		}
	}
	ev.Topic = s.names.topicOf(channel)
	if c == nil {
		s.deliverStep(ev.Topic, loops, nil, step{ev: &ev, at: ev.Position})
		return true
	}
	c.raw = c.raw || ev.Position.IsZero()
	if !sure {
		c.doubt() // raw, by another channel: it waits until this one is subscribed and the log compared
	}
	if c.held == nil {
		switch c.judge(&ev, s.master.clock.believed()) {
		case repeated:
			return true
		case fresh:
			c.advance(&ev)
			s.deliverStep(ev.Topic, loops, c, step{ev: &ev, at: ev.Position})
			return true
		case broken:
			s.stats.torn.Add(1)
			c.doubt()
			s.doubts.put(channel)
		}
	}
	s.stats.drops[Overrun].Add(c.held.add(&ev))
	return true
}

// deliverStep hands one step of a topic's chain, nil if it has none, to loops. The caller holds delivery.mu.
func (r *Redis) deliverStep(topic string, loops Loops, c *chain, step step) {
	gap := step.ev == nil
	switch {
	case c == nil:
	case gap:
		r.delivery.recent.drop(c)
	case !step.at.IsZero():
		r.delivery.recent.push(c, step.ev)
	}
	switch {
	case loops == 0:
	case gap:
		r.stats.gaps.Add(1)
		r.delivery.sink.Gap(topic, loops, Loss{At: step.at, Read: step.read, Next: step.next})
	default:
		r.stats.delivered.Add(1)
		r.delivery.sink.Deliver(step.ev, loops)
	}
}

// confirm says that all that is published to channel's topic arrives from now on, and tells a gap to
// followers who were told otherwise before, or who may have missed events that no log has; changes of presence are in none. The caller holds
// delivery.mu, and answers done without it.
func (r *Redis) confirm(channel string, c *chain) (done []waiter) {
	loops, torn, again, done := r.follows.confirm(channel)
	if topic := r.names.topicOf(channel); loops != 0 && (torn || again) && r.cfg.Presence.has(topic) {
		r.delivery.sink.Moved(&Moved{Topic: topic}, loops)
	}
	var at Position
	switch {
	case torn && c != nil:
		at = c.last
	case torn, again && c != nil && c.raw:
	default:
		return done
	}
	r.deliverStep(r.names.topicOf(channel), loops, nil, step{at: at})
	return done
}

// answer answers the Follows that wait for a topic: it arrives now.
func answer(done []waiter) {
	for _, w := range done {
		w.done(nil)
	}
}
