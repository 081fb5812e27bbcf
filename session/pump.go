package session

import (
	"slices"

	"wshub/pubsub"
)

// This file is a session's pump: what waits for a client outside of its connection's queue, and how it leaves.
// There is one pump for all that a session waits for, so however many topics it comes back to, no more than
// Hub.maxChunk bytes are in its queue at a time: the next ones follow when these have left. Until then an event waits
// as the message that all its followers share, without a frame.
//
// Two things wait. Replays wait as a cursor into a log; they take turns, and of all of them one page is in hand at a
// time, so that a client that comes back to many topics is handed no more than its connection may owe. And what a
// follower's connection has no room for in a batch lags: that, and all that comes for the session later.

// work is what a session has only while something of it is on its way; most never do.
type work struct {
	pending []*subscribing // subscriptions that do not follow yet
	group   *group         // of them, that the client is to be told of together
	reads   []*read        // in turn
	reading bool           // the first of reads is under way, or waits for the connection's queue to empty

	replays []*subscribing // started and not caught up; the next one comes first
	paging  *subscribing   // of replays: whose page is read now
	held    int            // bytes of what pending hold
	lag     []*message     // behind what is queued, in their order
	owed    int            // bytes of lag, as counted with the connection
	pumping bool           // the pump will be called again
}

// idle reports whether nothing is on its way.
func (w *work) idle() bool {
	return len(w.pending)+len(w.reads)+len(w.replays)+len(w.lag) == 0 && w.group == nil && !w.pumping
}

// working returns the session's work, made if there is none.
func (s *Session) working() *work {
	e := s.extra()
	if e.work == nil {
		e.work = &work{}
	}
	return e.work
}

// busy returns the session's work, nil if there is none.
func (s *Session) busy() *work {
	if s.ext == nil {
		return nil
	}
	return s.ext.work
}

// pump writes what waits until the kernel takes no more or the loop's turn is over. It is called whenever there may be
// something more, and comes again by itself.
func (s *Session) pump() {
	for w := s.busy(); w != nil && w == s.busy() && !w.pumping; {
		if s.conn.Queued() > 0 {
			w.pumping = true
			s.conn.AfterWritten(s.pumpOn)
			return
		}
		if s.shard.loop.Spent() {
			w.pumping = true
			s.shard.loop.Post(s.pumpOn)
			return
		}
		messages := w.next(s)
		if len(messages) == 0 {
			s.trim()
			return
		}
		if !s.writeAll(messages) {
			return
		}
	}
}

// pumpOn is the pump's own call.
func (s *Session) pumpOn() {
	if w := s.busy(); w != nil {
		w.pumping = false
		s.pump()
	}
}

// next takes what leaves now, one chunk of one source; none if every source is empty or waits.
func (w *work) next(s *Session) []*message {
	budget := s.shard.hub.maxChunk
	if len(w.lag) > 0 {
		return w.takeLag(s, budget)
	}
	for range len(w.replays) {
		if len(w.replays) == 0 { // the session ended in a turn
			return nil
		}
		sub := w.replays[0]
		w.replays = append(slices.Delete(w.replays, 0, 1), sub)
		if messages := sub.next(budget); len(messages) > 0 {
			return messages
		}
	}
	w.readPage()
	return nil
}

// readPage reads a page for the next one that misses something. Nothing is in hand.
func (w *work) readPage() {
	if w.paging != nil {
		return
	}
	for _, sub := range w.replays {
		if sub.missed && sub.timer == nil {
			w.paging = sub
			sub.readPage()
			return
		}
	}
}

// inHand is how many bytes of replays were read and have not left.
func (w *work) inHand() (bytes int) {
	for _, sub := range w.pending {
		bytes += sub.owed
	}
	return bytes
}

func (w *work) takeLag(s *Session, budget int) []*message {
	n, size := 0, 0
	for n < len(w.lag) && (n == 0 || size+w.lag[n].sizeFor(s) <= budget) {
		size += w.lag[n].sizeFor(s)
		n++
	}
	taken := slices.Clone(w.lag[:n])
	clear(w.lag[:n])
	if w.lag = w.lag[n:]; len(w.lag) == 0 {
		w.lag, size, s.lagging = nil, w.owed, false
	}
	w.owed -= size
	s.conn.Owe(-size)
	return taken
}

// writeAll writes messages, but those that except the session, in one go and reports whether the session is still open.
func (s *Session) writeAll(messages []*message) bool {
	stamp := s.stamp()
	if len(messages) == 1 && stamp == nil && !messages[0].ends(s.format) {
		if !s.gets(messages[0]) {
			return true
		}
		f := messages[0].frame(s.formatFor(messages[0]), s.shard)
		return len(f) == 0 || s.conn.Write(f)
	}
	out := s.shard.scratch[:0]
	var left []string // topics that the session leaves in the middle of messages
	for _, m := range messages {
		switch {
		case len(left) > 0 && slices.Contains(left, m.topic):
		case m.ends(s.format):
			left = append(left, m.topic)
			if len(out) > 0 && !s.conn.Write(out) || !s.leaveAtGap(m) {
				return false
			}
			out = out[:0]
		case !s.gets(m):
		default:
			f := m.frame(s.formatFor(m), s.shard)
			out = append(out, f...)
			if stamp != nil && len(f) > 0 && m.news == nil {
				out = stamp(s, out, m.topic, m.position)
			}
		}
	}
	if cap(out) <= maxScratch {
		s.shard.scratch = out
	}
	return len(out) == 0 || s.conn.Write(out)
}

// leaveAtGap ends what follows m's topic, or is about to, for a session whose format ends at gaps. It reports whether the
// session is still open.
func (s *Session) leaveAtGap(m *message) bool {
	if sub := s.waitingFor(m.topic); sub != nil {
		sub.end(Refusal{}) // it was answered, so nobody else is told
	} else if i := s.following(m.topic); i >= 0 {
		if s.subs[i].topic.present { // it is about to follow again
			s.linger([]string{m.topic}, "gap")
		}
		s.unlist(i)
	}
	s.protocol().Gap(s, m.topic, m.position)
	return s.Open()
}

// maxScratch bounds the buffer that a loop keeps for joining what the pumps write.
const maxScratch = 1 << 20

// deliver sends live messages behind everything that waits already.
func (s *Session) deliver(messages []*message) {
	switch {
	case len(messages) == 0:
	case s.lagging || s.conn.Queued() > 0 || s.shard.loop.Spent(): // many may wait for one batch
		s.lag(messages)
	case s.stampSize() > 0:
		s.handStamped(messages)
	default:
		s.writeAll(messages)
	}
}

// lag has messages wait for the session's turn.
func (s *Session) lag(messages []*message) {
	w := s.working()
	size := 0
	for _, m := range messages {
		size += m.sizeFor(s)
	}
	w.lag = append(w.lag, messages...)
	w.owed += size
	s.lagging = true
	s.conn.Owe(size) // it may end the session as a slow consumer
	s.pump()
}

// dropLag drops what lags of a topic that the session has left.
func (s *Session) dropLag(t *topic) {
	if !s.lagging {
		return
	}
	w, size := s.busy(), 0
	w.lag = slices.DeleteFunc(w.lag, func(m *message) bool {
		if m.topic != t.name {
			return false
		}
		size += m.sizeFor(s)
		return true
	})
	if s.lagging = len(w.lag) > 0; !s.lagging {
		size = w.owed // the stamp may have grown meanwhile
	}
	w.owed -= size
	s.conn.Owe(-size)
}

// stopReplay takes sub out of the pump. The others go on, but not before the caller has done: it may be about to end some
// of them.
func (s *Session) stopReplay(sub *subscribing) {
	w := s.busy()
	if w == nil {
		return
	}
	w.replays = slices.DeleteFunc(w.replays, func(other *subscribing) bool { return other == sub })
	if w.paging == sub {
		w.paging = nil
		s.shard.loop.Post(s.pump)
	}
}

// replayed are the messages of events that were replayed lately on a loop. Sessions that come back together read the same
// events: so they share their frames. It is bounded, and emptied when it is full.
type replayed struct {
	messages map[*pubsub.Event]*message
	bytes    int
}

const maxReplayed = 1 << 20

// messages returns the messages of events.
func (sh *shard) messages(events []*pubsub.Event) []*message {
	list := make([]*message, len(events))
	for i, ev := range events {
		list[i] = sh.replayed.message(ev)
	}
	return list
}

func (r *replayed) message(ev *pubsub.Event) *message {
	m := r.messages[ev]
	if m != nil {
		return m
	}
	m = &message{topic: ev.Topic, event: ev, position: ev.Position}
	if r.bytes += m.size(); r.messages == nil || r.bytes > maxReplayed {
		*r = replayed{make(map[*pubsub.Event]*message), m.size()}
	}
	r.messages[ev] = m
	return m
}
