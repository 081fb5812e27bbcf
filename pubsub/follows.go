package pubsub

import (
	"context"
	"slices"
	"sync"
	"time"
)

// followBatch is how many channels one SUBSCRIBE names. The server answers a batch before it is sent
// the next: a million at once overran its output buffer, and it never came to an end.
const followBatch = 512

// line is one subscriber connection after the other: what it is to send next, and what it has sent. The table's lock
// guards it.
type line struct {
	work chan struct{} // wakes the connection's writer

	live  bool     // a connection is there
	queue []string // channels that may need a command
	batch batch    // whose commands are not answered yet
	// refused are channels whose commands the server refused. They are asked for again by and by.
	refused []string
	// apart has each channel of the next batch asked for by a command of its own, since one of the last was refused.
	apart bool
	// strays are channels that events came on though nobody here wants them.
	strays []string
}

// batch is what is asked of a server at a time.
type batch struct {
	subscribe, unsubscribe []string
	// apart is true if each channel is to be subscribed by a command of its own.
	apart bool
}

func (b *batch) len() int { return len(b.subscribe) + len(b.unsubscribe) }

// reset forgets what was sent and is to be sent: it was another connection's.
func (l *line) reset(live bool) {
	l.live, l.queue, l.batch, l.refused, l.apart, l.strays = live, nil, batch{}, nil, false, nil
}

func newLine() *line { return &line{work: make(chan struct{}, 1)} }

// place is where a partition's topics are heard.
type place struct {
	line *line // nil: nobody serves the partition
	// connection numbers the subscriptions of the partition: on a later one nothing is subscribed yet.
	connection uint32
	// lost is true since the line's server said that it does not serve the partition.
	lost bool
	// silent is when what is published in the partition was last sure to arrive, by the table's clock; 0 while it is,
	// and before it was for the first time.
	silent int64
}

// live is true if commands may be sent.
func (p *place) live() bool { return p.line != nil && p.line.live && !p.lost }

// phase is how far Redis is with a topic, on the connection of now.
type phase uint8

const (
	off      phase = iota
	asking         // SUBSCRIBE sent, not acknowledged
	checking       // acknowledged; the topic's log is being compared with what the followers have
	on             // all that is published arrives
	leaving        // UNSUBSCRIBE sent, not acknowledged
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

// deadline says when to look at channel again, by the table's clock.
type deadline struct {
	at      int64
	channel string
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

// remind puts d behind the others in list and lets keepTime know if it is the first.
func (t *follows) remind(list *[]deadline, d deadline) {
	if *list = append(*list, d); len(*list) == 1 {
		wake(t.alarm)
	}
}

// enqueue has the writer of p's line look at the topic. The caller stores f.
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

// hears tells whether l's server has acknowledged that channel is subscribed, and the partition is still there. What
// comes before, of a subscription that was given up for lost, would come without its gap.
func (t *follows) hears(channel string, l *line) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, ok := t.get(channel)
	return ok && p.line == l && f.phase >= checking
}

// len is the number of topics in the table.
func (t *follows) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.topics.len()
}

// begin says that l has a fresh connection, on which nothing is subscribed yet.
func (t *follows) begin(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.reset(true)
	t.restart(func(_ byte, p *place) bool { return p.line == l })
	t.settle(l)
}

// settle notes how long l's partitions were silent, once all that is wanted of them has been asked for and answered.
func (t *follows) settle(l *line) {
	if len(l.queue)+l.batch.len() > 0 {
		return
	}
	longest, now := int64(0), t.clock()
	for n := range t.places {
		if p := &t.places[n]; p.line == l && p.live() && p.silent != 0 {
			longest = max(longest, now-p.silent)
			p.silent = 0
		}
	}
	if longest > 0 {
		t.silences.count(time.Duration(longest))
	}
}

// mute notes that p is silent from now on. The caller does it while p is still sure to be heard.
func (t *follows) mute(p *place) {
	if p.live() && p.silent == 0 {
		p.silent = t.clock()
	}
}

// place says which line each partition is heard on from now on; nil where nobody serves it. Partitions that were
// lost, or heard on another line, begin anew.
func (t *follows) place(lines *[partitions]*line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart(func(n byte, p *place) bool {
		if p.line == lines[n] && !p.lost {
			return false
		}
		t.mute(p)
		p.line = lines[n]
		return true
	})
	for i, l := range lines {
		if l != nil && l.live && (i == 0 || l != lines[i-1]) {
			t.settle(l)
		}
	}
}

// restart begins the subscriptions of those partitions anew that choose says. The table is looked through in parts,
// because loops wait for it. The caller holds t.mu.
func (t *follows) restart(choose func(byte, *place) bool) {
	var chosen [partitions]bool
	some := false
	for n := range t.places {
		if p := &t.places[n]; choose(byte(n), p) {
			chosen[n], some = true, true
			p.connection++
			p.lost = false
		}
	}
	if !some {
		return
	}
	seen := 0
	for channel := range t.topics.all {
		if seen++; seen%followBatch == 0 {
			t.mu.Unlock()
			t.mu.Lock()
		}
		if !chosen[partition(t.names.topicOf(channel))] {
			continue
		}
		f, p, known := t.get(channel)
		switch {
		case !known: // left meanwhile
		case f.wanted():
			enqueue(channel, &f, p)
			t.topics.set(channel, f)
		case f.phase == off:
			t.drop(channel, &f)
		}
	}
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

// lose says that l's server does not serve partition n any more: nothing of it arrives until place says from where.
// It is false if that was known.
func (t *follows) lose(l *line, n byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.places[n]
	if p.line != l || p.lost {
		return false
	}
	t.mute(p)
	p.lost = true
	return true
}

// end says that l's connection is gone.
func (t *follows) end(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.places {
		if p := &t.places[n]; p.line == l {
			t.mute(p)
		}
	}
	l.reset(false)
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

// answered says that the server has answered the whole batch. What it has refused is asked for again, each channel
// by itself; and what it refuses then, later, see again. refused are those of the latter that are wanted.
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
	t.settle(l)
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

// subscribed takes Redis's answer to SUBSCRIBE. check is true if the topic's log must be compared
// before confirm.
func (t *follows) subscribed(l *line, channel string) (check bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, p, ok := t.get(channel)
	if !ok || p.line != l || f.phase != asking {
		return false
	}
	f.phase = checking
	t.topics.set(channel, f)
	return f.chain != nil
}

// confirm says that all that is published to the topic from now on arrives: the caller tells done, and
// before it a Gap to loops if torn. again is true if it had arrived before, on an earlier connection.
func (t *follows) confirm(channel string) (loops Loops, torn, again bool, done []waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, _, ok := t.get(channel)
	if !ok || f.phase != checking {
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

// keepTime ends lingering, answers Follows that waited too long, and gives the chains of topics that were left
// to forget, until ctx ends.
func (t *follows) keepTime(ctx context.Context, forget func([]*chain)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.alarm:
		case <-timer.C:
		}
		if gone := t.takeGone(); len(gone) > 0 {
			forget(gone)
		}
		late, next := t.expire(t.clock())
		for _, done := range late {
			done(ErrUnavailable)
		}
		if next > 0 {
			timer.Reset(time.Duration(next - t.clock()))
		}
	}
}

func (t *follows) takeGone() []*chain {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := t.gone
	t.gone = nil
	return gone
}

// expire takes what is due at now, in parts: late are the Follows to answer, next is when to come again, or 0.
func (t *follows) expire(now int64) (late []func(error), next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := 0; n < followBatch && len(t.patiences) > 0 && t.patiences[0].at <= now; n++ {
		late = append(late, t.overdue(t.patiences[0].channel, now)...)
		t.patiences = t.patiences[1:]
	}
	if len(t.patiences) == 0 {
		t.patiences = nil
	}
	for n := 0; n < followBatch && len(t.lingers) > 0 && t.lingers[0].at <= now; n++ {
		t.forget(t.lingers[0])
		t.lingers = t.lingers[1:]
	}
	if len(t.lingers) == 0 {
		t.lingers = nil
	}
	for _, list := range [...][]deadline{t.patiences, t.lingers} {
		if len(list) > 0 && (next == 0 || list[0].at < next) {
			next = list[0].at
		}
	}
	return late, next
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

// overdue takes the Follows of channel that waited until now.
func (t *follows) overdue(channel string, now int64) (late []func(error)) {
	list, _ := t.waiting.get(channel)
	for len(list) > 0 && list[0].until <= now {
		late = append(late, list[0].done)
		list = list[1:]
	}
	if len(list) > 0 {
		t.waiting.set(channel, list)
	} else {
		t.waiting.delete(channel)
	}
	if f, _, ok := t.get(channel); ok && len(late) > 0 {
		f.torn = f.torn || f.chain == nil || !f.known
		t.topics.set(channel, f)
	}
	return late
}

// forget ends the lingering that d tells of, if nobody came back to the topic since.
func (t *follows) forget(d deadline) {
	f, p, ok := t.get(d.channel)
	if !ok || f.left != d.at {
		return
	}
	f.left = 0
	if !p.live() {
		t.drop(d.channel, &f)
		return
	}
	enqueue(d.channel, &f, p)
	t.topics.set(d.channel, f)
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
