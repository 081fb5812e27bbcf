package pubsub

import (
	"slices"
	"sync"
	"time"
)

// followBatch is how many channels one SUBSCRIBE names. The server answers a batch before it is sent
// the next: a million at once overran its output buffer, and it never came to an end.
const followBatch = 512

// phase is how far Redis is with a topic, on the connection of now.
type phase uint8

const (
	off       phase = iota
	asking          // SUBSCRIBE sent, not acknowledged
	comparing       // acknowledged; the topic's log is being compared with what the followers have
	on              // all that is published arrives
	leaving         // UNSUBSCRIBE sent, not acknowledged
)

// follow is one topic's line in the table. A node may follow a million user topics: keep it small.
type follow struct {
	loops Loops
	// left is when the lingering ends that began as the last loop left, by the table's clock; else 0.
	left int64
	// chain is nil if the topic keeps no history. The pointer is the table's, what it points to is
	// not: see delivery.
	chain *chain
	// connection is the partition's that phase and queued are about.
	connection uint32
	phase      phase
	// queued is true while the topic stands in the queue.
	queued bool
	// known is true once the topic arrived: from then on its chain shows what is missing.
	known bool
	// torn is true when a loop was told less than the truth: events may have been lost, or a Follow
	// was answered ErrUnavailable. The next acknowledgement makes it a Gap. A topic with a known chain
	// is never torn.
	torn bool
}

func (f follow) wanted() bool { return f.loops != 0 || f.left != 0 }

// follows is the table of who follows what and how far Redis is with it. It sends nothing itself: the writer of a
// partition's line asks next for commands, its reader reports the answers. A topic has at most one command under
// way, so a late UNSUBSCRIBE can't undo a fresh follow.
type follows struct {
	// Fixed at birth.
	names    *names
	patience time.Duration // from Follow to its done(ErrUnavailable)
	linger   time.Duration // from the last Unfollow to UNSUBSCRIBE
	history  History
	clock    func() int64  // nanoseconds that have gone by; never 0
	alarm    chan struct{} // wakes keepTime
	silences distribution  // how long a line's partitions were silent

	mu      sync.Mutex
	topics  table[string, follow] // by Redis channel
	waiting table[string, []waiter]
	gone    []*chain // of topics that were left for good
	places  [partitions]place
	closed  bool
	// Both in order of time, because each has one duration for all.
	patiences, lingers []deadline
}

// waiter is a Follow that waits for Redis.
type waiter struct {
	until int64
	done  func(error)
}

func newFollows(names *names, patience, linger time.Duration, history History) *follows {
	return &follows{
		names:    names,
		history:  history,
		clock:    newStopwatch().now,
		patience: patience,
		linger:   linger,
		alarm:    make(chan struct{}, 1),
	}
}

// wake makes the reader of c run again. A wake-up that waits already is enough.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// get returns channel's entry as it stands on its partition's connection of now. Nothing is stored.
func (t *follows) get(channel string) (f follow, p *place, known bool) {
	p = &t.places[partition(t.names.topicOf(channel))]
	f, known = t.topics.get(channel)
	if f.connection != p.connection {
		f.torn = f.torn || f.phase == on && f.chain == nil
		f.phase, f.queued, f.connection = off, false, p.connection
	}
	return f, p, known
}

// add makes loop a follower of topic. done is called as Broker.Follow says.
func (t *follows) add(topic string, loop int, done func(error)) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		done(ErrUnavailable)
		return
	}
	channel := t.names.topic(topic)
	f, p, known := t.get(channel)
	if _, keeps := t.history.For(topic); keeps && !known {
		f.chain = &chain{}
	}
	f.loops = f.loops.With(loop)
	f.left = 0
	if p.live() && f.phase == on {
		t.topics.set(channel, f)
		t.mu.Unlock()
		done(nil)
		return
	}
	until := t.clock() + int64(t.patience)
	t.wait(channel, waiter{until, done})
	t.remind(&t.patiences, deadline{until, channel})
	enqueue(channel, &f, p)
	t.topics.set(channel, f)
	t.mu.Unlock()
}

// wait puts w behind others who wait for channel.
func (t *follows) wait(channel string, w waiter) {
	list, _ := t.waiting.get(channel)
	t.waiting.set(channel, append(list, w))
}

// drop takes channel, whose line is f, out of the table.
func (t *follows) drop(channel string, f *follow) {
	t.topics.delete(channel)
	if f.chain == nil {
		return
	}
	if t.gone = append(t.gone, f.chain); len(t.gone) == 1 {
		wake(t.alarm)
	}
}

// remove takes loop off topic. The last one leaves the topic lingering.
func (t *follows) remove(topic string, loop int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	channel := t.names.topic(topic)
	f, _, ok := t.get(channel)
	if !ok || !f.loops.Has(loop) {
		return
	}
	f.loops = f.loops.Without(loop)
	if f.loops == 0 {
		f.left = t.clock() + int64(t.linger)
		t.remind(&t.lingers, deadline{f.left, channel})
	}
	t.topics.set(channel, f)
}

// enqueue wakes the writer of p's line for the topic. The caller stores f.
func enqueue(channel string, f *follow, p *place) {
	if p.live() && !f.queued {
		f.queued = true
		p.line.queue = append(p.line.queue, channel)
		wake(p.line.work)
	}
}

// followers is who follows channel's topic, and its chain, if it has one. sure is true if all that is
// published to it arrives.
func (t *follows) followers(channel string) (loops Loops, c *chain, sure bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, _ := t.get(channel)
	return f.loops, f.chain, p.live() && f.phase == on
}

// hears reports whether l's server has acknowledged that channel is subscribed, and the partition is still there. An
// earlier event, of a subscription that was given up for lost, would come without its gap.
func (t *follows) hears(channel string, l *line) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, ok := t.get(channel)
	return ok && p.line == l && f.phase >= comparing
}

// len is the number of topics in the table.
func (t *follows) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.topics.len()
}

// each calls yield for every channel in the table, without the lock.
func (t *follows) each(yield func(channel string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var part []string
	flush := func() {
		t.mu.Unlock()
		for _, channel := range part {
			yield(channel)
		}
		part = part[:0]
		t.mu.Lock()
	}
	for channel := range t.topics.all {
		if part = append(part, channel); len(part) == followBatch {
			flush()
		}
	}
	flush()
}

// next is the next batch of commands for l; it is empty while there is nothing to do, or while the last one is not
// answered.
func (t *follows) next(l *line) (b batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !l.live || l.batch.len() > 0 {
		return batch{}
	}
	b.apart = l.apart
	for _, channel := range l.strays {
		if _, p, ok := t.get(channel); !ok || p.line != l {
			b.unsubscribe = append(b.unsubscribe, channel)
		}
	}
	l.strays = nil
	for len(l.queue) > 0 && b.len() < followBatch {
		channel := l.queue[0]
		l.queue = l.queue[1:]
		f, p, ok := t.get(channel)
		if !ok || p.line != l || !p.live() {
			continue // when the partition begins anew, it is asked for there
		}
		f.queued = false
		switch {
		case f.wanted() && (f.phase == off || f.phase == leaving): // nothing is under way: an UNSUBSCRIBE was refused
			f.phase = asking
			b.subscribe = append(b.subscribe, channel)
		case f.wanted():
		case f.phase == off:
			t.drop(channel, &f)
			continue
		default:
			f.phase = leaving
			b.unsubscribe = append(b.unsubscribe, channel)
		}
		t.topics.set(channel, f)
	}
	if len(l.queue) == 0 {
		l.queue = nil
	}
	l.batch = b
	return b
}

// answered says that the server has answered the whole batch. Refused channels are asked for again, each by itself;
// channels that it refuses then, later, see again. refused are those of the latter that are wanted.
func (t *follows) answered(l *line) (refused []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := l.batch
	l.batch, l.apart = batch{}, false
	for _, channel := range b.subscribe {
		f, p, ok := t.get(channel)
		if !ok || p.line != l || f.phase != asking {
			continue
		}
		f.phase = off
		switch {
		case !p.live(): // it begins anew
			t.topics.set(channel, f)
		case !b.apart:
			l.apart = true
			enqueue(channel, &f, p)
			t.topics.set(channel, f)
		case f.wanted():
			refused = append(refused, channel)
			t.topics.set(channel, f)
		case f.queued:
			t.topics.set(channel, f)
		default:
			t.drop(channel, &f)
		}
	}
	t.noteSilence(l)
	l.refused = append(l.refused, refused...)
	for _, channel := range b.unsubscribe {
		if f, p, ok := t.get(channel); ok && p.line == l && f.phase == leaving {
			l.refused = append(l.refused, channel)
		}
	}
	if len(refused) == 0 && len(b.subscribe) > 0 && !l.apart {
		t.askAgain(l) // it seems to let us again
	}
	if len(l.queue) > 0 {
		wake(l.work)
	}
	return refused
}

// again has some of the channels asked for again that the server has refused.
func (t *follows) again(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.askAgain(l)
}

func (t *follows) askAgain(l *line) {
	n := min(len(l.refused), followBatch)
	for _, channel := range l.refused[:n] {
		if f, p, ok := t.get(channel); ok && p.line == l && (f.phase == leaving || f.phase == off && f.wanted()) {
			enqueue(channel, &f, p)
			t.topics.set(channel, f)
		}
	}
	if l.refused = l.refused[n:]; len(l.refused) == 0 {
		l.refused = nil
	}
}

// stray says that an event came on l for nobody: unless channel is wanted there, it is unsubscribed. It may be left
// over from a time when the partition was said to be elsewhere.
func (t *follows) stray(l *line, channel string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, p, ok := t.get(channel); (!ok || p.line != l) && l.live && len(l.strays) < followBatch && !slices.Contains(l.strays, channel) {
		l.strays = append(l.strays, channel)
		wake(l.work)
	}
}

// subscribed takes Redis's answer to SUBSCRIBE. compare is true if the topic's log must be compared
// before confirm.
func (t *follows) subscribed(l *line, channel string) (compare bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, ok := t.get(channel)
	if !ok || p.line != l || f.phase != asking {
		return false
	}
	f.phase = comparing
	t.topics.set(channel, f)
	return f.chain != nil
}

// confirm says that all that is published to the topic from now on arrives: the caller tells done, and
// before it a Gap to loops if torn. again is true if it had arrived before, on an earlier connection.
func (t *follows) confirm(channel string) (loops Loops, torn, again bool, done []waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, _, ok := t.get(channel)
	if !ok || f.phase != comparing {
		return 0, false, false, nil
	}
	loops, torn, again = f.loops, f.torn, f.known
	done, _ = t.waiting.get(channel)
	t.waiting.delete(channel)
	f.phase, f.torn, f.known = on, false, true
	t.topics.set(channel, f)
	return loops, torn, again, done
}

// unsubscribed takes Redis's answer to UNSUBSCRIBE. asked is false if the server ended the subscription by itself.
func (t *follows) unsubscribed(l *line, channel string) (asked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, ok := t.get(channel)
	switch {
	case !ok || p.line != l:
		return true
	case f.phase != leaving:
		return f.phase == off
	}
	f.phase = off
	if f.wanted() {
		t.topics.set(channel, f)
		enqueue(channel, &f, p)
	} else {
		t.drop(channel, &f)
	}
	return true
}

// refuse answers the Follows of channel that wait with err. The topic stays followed.
func (t *follows) refuse(channel string, err error) {
	t.mu.Lock()
	waiting, _ := t.waiting.get(channel)
	t.waiting.delete(channel)
	if f, _, ok := t.get(channel); ok && len(waiting) > 0 {
		f.torn = f.torn || f.chain == nil || !f.known
		t.topics.set(channel, f)
	}
	t.mu.Unlock()
	for _, w := range waiting {
		w.done(err)
	}
}

// close answers every waiting Follow, and from now on each at once, with ErrUnavailable.
func (t *follows) close() {
	t.mu.Lock()
	t.closed = true
	var waiting []waiter
	for _, list := range t.waiting.all {
		waiting = append(waiting, list...)
	}
	t.waiting, t.patiences = table[string, []waiter]{}, nil
	t.mu.Unlock()
	for _, w := range waiting {
		w.done(ErrUnavailable)
	}
}
