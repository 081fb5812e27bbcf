package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// watch is the presence of a topic that sessions of a loop watch: each is told who is there by a whole presence, and
// then of each change behind its version. The loop owns it; it ends with the last who watches.
//
// All who watch get the same news in the topic's batches. Who begins to needs a whole presence that is read for it, and
// must not get the changes that this has. So changes are held while the presence is read; those up to its
// version go to the others; when these have been handed out, who begins is told the whole and is one of all. Where a change
// is missing all are told the whole instead.
type watch struct {
	sh  *shard
	t   *topic
	who map[*Session]struct{} // all who get the news

	asking, asked   map[*subscribing]struct{} // subscriptions that are answered with the whole; asked: that is being read
	joining, joined map[*Session]struct{}     // followers that are told the whole by itself
	entering        map[*Session]struct{}     // those that will join when they are members

	seen    pubsub.Version // of the last change that went on its way; zero: none is known
	out     int            // news on their way, see handedNews
	lost    bool           // a change is missing
	reading bool           // the presence is read,
	stale   bool           // in vain: a change was lost meanwhile
	landed  *pubsub.Presence
	held    []*message // came meanwhile
	bytes   int        // of held
	tries   int        // failures in a row
	timer   *engine.Timer
	over    bool

	// While there are too many members for single changes.
	counted *pubsub.Moved // the last counts, yet to be told; nil without
	whole   bool          // single changes come again
	pause   *engine.Timer // runs until counts may be told again
}

const (
	// watchServe bounds those who begin to watch with one reading: some 3 ms of writing.
	watchServe = sliceWrites
	// watchHeld bounds the changes that are held for one watch, in bytes.
	watchHeld = 256 << 10
	// watchPatience bounds the wait for changes that a whole presence has and that have yet to arrive.
	watchPatience = time.Second
	// countsPause is the least time between two messages of counts.
	countsPause = time.Second
	// maxWhole bounds the members of a whole presence. Of more, or of more bytes than a connection is handed at a time, it
	// has counts only.
	maxWhole = pubsub.MaxPresencePage
)

// watch is the one of t, made if there is none.
func (sh *shard) watch(t *topic) *watch {
	p := sh.presence
	w := p.watches[t]
	if w == nil {
		w = &watch{
			sh: sh, t: t, who: make(map[*Session]struct{}),
			asking: make(map[*subscribing]struct{}), joining: make(map[*Session]struct{}), entering: make(map[*Session]struct{}),
		}
		p.watches[t] = w
		p.watching.Add(1)
		t.watched = true
	}
	return w
}

// ask has sub told the whole presence, in its answer.
func (w *watch) ask(sub *subscribing) {
	w.asking[sub] = struct{}{}
	w.look()
}

// join has s, which follows, told the whole presence by itself.
func (w *watch) join(s *Session) {
	w.joining[s] = struct{}{}
	w.look()
}

// unwatch ends the session's watching of t, if it does.
func (s *Session) unwatch(t *topic) {
	if !t.watched {
		return
	}
	w := s.shard.presence.watches[t]
	delete(w.who, s)
	delete(w.joining, s)
	delete(w.joined, s)
	delete(w.entering, s)
	w.endIdle()
}

// forsake ends sub's wait for the presence.
func (w *watch) forsake(sub *subscribing) {
	delete(w.asking, sub)
	delete(w.asked, sub)
	w.endIdle()
}

// endIdle ends the watch if nobody is left.
func (w *watch) endIdle() {
	if w.over || len(w.who)+len(w.asking)+len(w.asked)+len(w.joining)+len(w.joined)+len(w.entering) > 0 {
		return
	}
	w.over = true
	w.sh.loop.Stop(w.timer)
	w.sh.loop.Stop(w.pause)
	delete(w.sh.presence.watches, w.t)
	w.sh.presence.watching.Add(-1)
	w.t.watched = false
	w.sh.dropNews(w.t)
}

// take has a change go on its way, unless it is held, is known, or shows that some are missing.
func (w *watch) take(m *message) bool {
	v := m.news.moved.Version
	switch {
	case v.IsZero():
		w.lose()
		return false
	case w.reading || w.landed != nil || w.lost:
		w.hold(m)
		w.settle()
		return false
	case len(w.who) == 0: // who is told the whole gets what comes behind it
		return false
	case w.seen.IsZero() && v.Number == 1: // nobody was there yet
	case v.Epoch == w.seen.Epoch && v.Number <= w.seen.Number:
		return false
	case !v.Follows(w.seen):
		w.lose()
		return false
	}
	return w.pass(m)
}

// pass has a change go on its way, behind the one that was seen last; counts at most once in a while.
func (w *watch) pass(m *message) bool {
	moved := m.news.moved
	w.seen = moved.Version
	if !moved.Counted && w.pause == nil {
		w.out++
		return true
	}
	w.whole = !moved.Counted
	w.counted = moved
	if w.pause != nil {
		return false
	}
	w.counted = nil
	w.rest()
	w.out++
	return true
}

// rest has counts wait for a while.
func (w *watch) rest() {
	w.pause = w.sh.loop.After(countsPause, func() {
		w.pause = nil
		switch {
		case w.whole:
			w.whole, w.counted = false, nil
			w.lose()
		case w.counted != nil:
			m := &message{topic: w.t.name, news: &news{moved: w.counted}}
			w.counted = nil
			w.rest()
			w.send(m)
		}
	})
}

// send has news go on their way that did not come by the inbox.
func (w *watch) send(list ...*message) {
	ext := w.sh.extra(w.t)
	for _, m := range list {
		ext.queue = append(ext.queue, m)
		ext.queued += m.size()
		w.sh.giveBack(-m.size())
	}
	w.out += len(list)
	w.sh.list(w.t)
	w.sh.schedule()
}

// hold keeps a change that comes while the presence is read. Of too many none is kept.
func (w *watch) hold(m *message) {
	w.held = append(w.held, m)
	if w.bytes += m.size(); w.bytes > watchHeld {
		w.sh.count.drops.Add("presence_hold_full")
		w.lose()
	}
}

// lose has all who watch told the whole presence: changes are missing. It has all that came by now.
func (w *watch) lose() {
	w.lost, w.held, w.bytes = true, nil, 0
	w.stale = w.reading
	w.landed = nil
	w.look()
}

// look reads the presence if anybody needs it and it is not being read.
func (w *watch) look() {
	switch {
	case w.over || w.reading || w.landed != nil || w.tries > 0 && w.timer != nil:
		return
	case !w.lost && len(w.asking)+len(w.joining) == 0:
		return
	}
	w.sh.loop.Stop(w.timer)
	w.timer = nil
	w.asked, w.joined = some(w.asking, w.asked), some(w.joining, w.joined)
	w.reading, w.stale = true, false
	hub, found := w.sh.hub, &pubsub.Presence{}
	r := &read{topic: w.t.name, call: func(ctx context.Context) (err error) {
		*found, err = hub.readWhole(ctx, w.t.name)
		return err
	}}
	hub.readers.put(job{r, w.sh.loop, func(_ pubsub.Replay, err error) { w.land(found, err) }})
}

// some moves a number of from to to.
func some[K comparable](from, to map[K]struct{}) map[K]struct{} {
	if to == nil {
		to = make(map[K]struct{})
	}
	for k := range from {
		if len(to) >= watchServe {
			break
		}
		to[k] = struct{}{}
		delete(from, k)
	}
	return to
}

// readWhole reads all of topic's presence, or counts only if that is too much.
func (h *Hub) readWhole(ctx context.Context, topic string) (pubsub.Presence, error) {
	p, err := h.broker.ReadPresence(ctx, topic, "", maxWhole)
	if p.Next != "" || membersSize(p.Members) > h.maxChunk {
		p.Members = nil
	} else if p.Members == nil {
		p.Members = []pubsub.Member{}
	}
	return p, err
}

// land takes the presence that was read.
func (w *watch) land(p *pubsub.Presence, err error) {
	if w.over {
		return
	}
	w.reading = false
	switch {
	case errors.Is(err, pubsub.ErrNoPresence): // the topic was confused with another
		w.fail(Refusal{NoPresence, "the topic has no presence"})
		return
	case err != nil:
		w.fail(presenceRefusal(err))
		return
	}
	w.tries = 0
	if w.stale { // for all, together with those who have waited meanwhile
		w.look()
		return
	}
	w.landed = p
	w.timer = w.sh.loop.After(watchPatience, func() {
		w.timer = nil
		if w.landed == p { // what it waits for does not come
			w.lose()
		}
	})
	w.settle()
}

// fail is called when the presence can't be read: whoever waits for an answer gets it, for the others it is tried again.
func (w *watch) fail(why Refusal) {
	for sub := range w.asked {
		delete(w.asked, sub)
		sub.end(why)
	}
	for s := range w.joined {
		w.joining[s] = struct{}{}
	}
	w.joined = nil
	if w.endIdle(); w.over {
		return
	}
	wait := min(retryFirst<<min(w.tries, 5), retryLast)
	w.tries++
	w.timer = w.sh.loop.After(wait/2+rand.N(wait/2), func() {
		w.timer = nil
		w.look()
	})
	w.release()
}

// settle has the presence that was read told when all changes that it has were handed to those who watched before.
func (w *watch) settle() {
	p := w.landed
	if p == nil || w.out > 0 || w.over {
		return
	}
	if !w.lost && len(w.who) > 0 && w.seen != p.Version {
		if w.seen.Epoch != p.Version.Epoch || w.seen.Number > p.Version.Number {
			w.lose()
			return
		}
		if w.catchUp(p.Version); w.seen != p.Version || w.out > 0 || w.landed == nil {
			return
		}
	}
	w.tell(p)
}

// catchUp lets go of held changes up to a version.
func (w *watch) catchUp(to pubsub.Version) {
	for len(w.held) > 0 && w.seen != to {
		m := w.held[0]
		v := m.news.moved.Version
		known := v.Epoch == w.seen.Epoch && v.Number <= w.seen.Number
		if !known && !v.Follows(w.seen) {
			w.lose()
			return
		}
		w.held = w.held[1:]
		w.bytes -= m.size()
		if !known && w.pass(m) {
			w.out-- // send counts it
			w.send(m)
		}
	}
}

// tell tells p to whom it was read for.
func (w *watch) tell(p *pubsub.Presence) {
	w.sh.loop.Stop(w.timer)
	w.timer, w.landed = nil, nil
	m := &message{topic: w.t.name, news: &news{whole: p}}
	joined, asked, all := w.joined, w.asked, w.lost
	w.joined, w.asked, w.lost = nil, nil, false
	w.seen = p.Version
	for s := range joined {
		w.who[s] = struct{}{}
	}
	if all {
		w.counted, w.whole = nil, false // older than p
		w.send(m)
	}
	for sub := range asked {
		w.who[sub.s] = struct{}{}
	}
	// From here on sessions may end, and with the last one the watch.
	if !all {
		for s := range joined {
			if s.watches(w.t) {
				s.deliver([]*message{m})
			}
		}
	}
	for sub := range asked {
		sub.attended(p)
	}
	if w.over {
		return
	}
	w.release()
	w.look()
}

// release has the changes go on that were held, if they need not be held any more.
func (w *watch) release() {
	held := w.held
	w.held, w.bytes = nil, 0
	for _, m := range held {
		if w.take(m) {
			w.out-- // send counts it
			w.send(m)
		}
		if w.lost {
			return
		}
	}
}
