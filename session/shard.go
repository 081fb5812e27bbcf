package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/reasons"
)

const (
	// sliceWrites bounds the writes of one turn: some 3 ms at 10 µs each, then the loop reads again.
	sliceWrites = 256
	// touchAhead is how many followers are touched in a row before they are written to. They must stay in the
	// processor's first cache beside what 16 system calls need.
	touchAhead = 16
	// joinBytes bounds what is joined into one write.
	joinBytes = 64 << 10
	// The most that a loop keeps for the next message: 1 MiB of joined frames, and lists of so many topics of
	// so many messages.
	spareBuffers, spareExts, spareQueue = 16, 64, 1024
)

// shard is the hub on one loop.
type shard struct {
	// Fixed at birth.
	hub     *Hub
	loop    *engine.Loop
	flushed func() // sh.flush, made once

	// Guarded by mu: what the broker brings.
	mu     sync.Mutex
	inbox  []*message
	bytes  int                 // of the inbox, and of what the topics have queued
	torn   map[string]lost     // topics that lost messages to a full inbox
	unseen map[string]struct{} // topics that lost news of their presence so
	posted bool                // a flush is on its way

	count counters

	// Owned by the loop.
	spare     []*message // the inbox's other half: the two are swapped
	topics    *index
	named     map[uint64]*Session // by id, those that can be found by it
	members   *members
	replacing []replacement // yet to be told to the other nodes
	arrivals  bucket
	posts     posts
	relays    map[uint64]relaying // by number
	lobby     lobby
	presence  *presence // nil where no topic has one
	replayed  replayed
	watches   map[string][]*Watch // by topic; nil until somebody looks
	scratch   []byte              // for joining what a pump writes
	active    []*topic            // topics with messages to write, from head on
	head      int                 // in active
	subs      int                 // subscriptions on this loop, those on their way included
	buffers   []*[]byte           // spare, as are exts
	exts      []*topicExt
	draining  bool
	touched   int // of no meaning; see Conn.Touch

	// Owned by the loop, too, and apart from its hot fields: the last messages and connections.
	received, opens visits
}

// counters are one shard's share of Stats. The loop adds; anybody reads.
type counters struct {
	sessions                                 [maxProtocols]atomic.Int64 // by protocol
	topics, subscriptions                    atomic.Int64
	messages, deliveries, batches, published atomic.Uint64
	recovered, unrecovered                   atomic.Uint64

	errors, drops engine.Tally[string]
}

func newShard(h *Hub, loop *engine.Loop) *shard {
	sh := &shard{hub: h, loop: loop, topics: newIndex(), named: make(map[uint64]*Session), members: newMembers(), presence: newPresence(h)}
	sh.flushed = sh.flush
	return sh
}

// push puts a message into the inbox. From any goroutine; order is kept: what comes behind a message that was dropped, and is
// of the same topic, is dropped, too, until the loop knows of it.
func (sh *shard) push(m *message) {
	sh.mu.Lock()
	_, torn := sh.torn[m.topic]
	full := false
	if torn = torn && m.news == nil; torn || sh.bytes+m.size() > sh.hub.cfg.MaxInbox {
		sh.lack(m)
		sh.count.drops.Add("inbox_full")
		full = true
	} else {
		sh.inbox = append(sh.inbox, m)
		sh.bytes += m.size()
	}
	sh.mu.Unlock()
	if full {
		sh.hub.note(nil, reasons.Reason{Kind: reasons.Drop, Rule: "inbox_full", Topic: m.topic}, static("more events wait for a loop than its inbox holds"))
	}
}

// lack notes that m did not fit into the inbox. The caller holds mu.
func (sh *shard) lack(m *message) {
	switch {
	case m.news == nil:
		if sh.torn == nil {
			sh.torn = make(map[string]lost)
		}
		l := sh.torn[m.topic]
		l.forGood = l.forGood || m.position.IsZero() || m.isInNoLog()
		if !m.position.IsZero() {
			l.at = m.position
		}
		sh.torn[m.topic] = l
	case sh.unseen == nil:
		sh.unseen = map[string]struct{}{m.topic: {}}
	default:
		sh.unseen[m.topic] = struct{}{}
	}
}

// flush takes the whole inbox and writes one slice of what there is to write.
func (sh *shard) flush() {
	sh.mu.Lock()
	in, torn, unseen := sh.inbox, sh.torn, sh.unseen
	sh.inbox, sh.torn, sh.unseen, sh.posted = sh.spare[:0], nil, nil, false
	sh.mu.Unlock()

	unwanted := 0
	for i, m := range in {
		if !sh.enqueue(m) {
			unwanted += m.size()
		}
		in[i] = nil
	}
	sh.giveBack(unwanted)
	sh.spare = in[:0]
	for name, lost := range torn {
		sh.tear(name, lost)
	}
	for name := range unseen {
		sh.loseNews(name)
	}

	for writes := sliceWrites; writes > 0 && sh.head < len(sh.active) && (writes == sliceWrites || !sh.loop.Spent()); sh.head++ {
		t := sh.active[sh.head]
		writes -= sh.advance(t, writes)
		if t.ext == nil || !t.ext.pending() {
			t.listed = false
			sh.dropIdleState(t)
		} else {
			sh.active = append(sh.active, t)
		}
	}
	if sh.head >= len(sh.active)/2 { // so that no more are moved than have been worked off
		sh.active = slices.Delete(sh.active, 0, sh.head)
		sh.head = 0
	}
	if len(sh.active) > 0 {
		sh.schedule()
	}
}

// schedule has flush called soon. From any goroutine.
func (sh *shard) schedule() {
	sh.mu.Lock()
	post := !sh.posted
	sh.posted = true
	sh.mu.Unlock()
	if post {
		sh.loop.Post(sh.flushed)
	}
}

// enqueue has m, which has been counted, wait for its topic's turn. It is false if nobody follows any more.
func (sh *shard) enqueue(m *message) bool {
	t := sh.topics.get(m.topic)
	if t == nil || m.news != nil && !sh.takeNews(t, m) {
		return false
	}
	ext := sh.extra(t)
	ext.queue = append(ext.queue, m)
	ext.queued += m.size()
	sh.list(t)
	return true
}

// giveBack counts bytes that wait no more; a negative number, bytes that did not come by the inbox.
func (sh *shard) giveBack(bytes int) {
	if bytes != 0 {
		sh.mu.Lock()
		sh.bytes -= bytes
		sh.mu.Unlock()
	}
}

// list makes t one of those with messages to write.
func (sh *shard) list(t *topic) {
	if !t.listed {
		t.listed = true
		sh.active = append(sh.active, t)
	}
}

// advance writes t's batch to at most limit followers, beginning a new batch if there is none, and returns
// how many it wrote to, at least 1.
func (sh *shard) advance(t *topic, limit int) int {
	ext := t.ext
	if !ext.pending() {
		return 1
	}
	if len(ext.batch) == 0 {
		sh.begin(t)
	}
	n, spared := 0, 0
	for len(ext.batch) > 0 && ext.next < ext.limit && n < limit {
		if n%touchAhead == 0 {
			if n > 0 && sh.loop.Spent() {
				break
			}
			sh.touch(t, min(ext.next+touchAhead, ext.limit))
		}
		s := t.followers.at(ext.next)
		ext.next++ // before the write: a session that ends in it removes itself
		n++
		if len(ext.excepted) > 0 && slices.Contains(ext.excepted, s.id) {
			spared += sh.handRest(s, ext)
		} else {
			sh.hand(s, t)
		}
	}
	sh.count.deliveries.Add(uint64(n*(len(ext.batch)-ext.news) - spared))
	if len(ext.batch) == 0 || ext.next == ext.limit {
		sh.finish(t)
	}
	return max(n, 1)
}

// hand writes the batch to s, as far as its connection has room; the rest waits for it in its pump.
func (sh *shard) hand(s *Session, t *topic) {
	ext := t.ext
	if s.traced {
		s.traceBatch(ext)
	}
	if s.lagging {
		s.lag(ext.batch)
		return
	}
	format := s.format
	if ext.news > 0 && s.watches(t) {
		format |= watching
	}
	chunks := sh.chunks(ext, format)
	if chunks.stamped {
		s.handStamped(ext.batch)
		return
	}
	for i, chunk := range chunks.frames {
		if queued := s.conn.Queued(); queued > 0 && queued+len(chunk) > sh.hub.maxChunk {
			s.lag(ext.batch[chunks.first[i]:])
			return
		}
		if !s.conn.Write(chunk) {
			return
		}
	}
	if chunks.gap != nil {
		s.leaveAtGap(chunks.gap)
	}
}

// handRest writes the batch to s without the messages that except it, and returns how many these are. Such a batch
// is not joined for others: it leaves by the session's pump.
func (sh *shard) handRest(s *Session, ext *topicExt) (spared int) {
	rest := slices.DeleteFunc(slices.Clone(ext.batch), func(m *message) bool { return !s.gets(m) })
	spared = len(ext.batch) - len(rest) // news are for all
	if len(rest) > 0 {
		s.lag(rest)
	}
	return spared
}

// touch fetches the batch's next followers, up to limit, from memory: their misses overlap, as those between
// system calls never do.
func (sh *shard) touch(t *topic, limit int) {
	for i := t.ext.next; i < limit; i++ {
		sh.touched += t.followers.at(i).conn.Touch()
	}
}

// begin makes the queue the next batch: for those who follow now, and for the holds of those who wait.
func (sh *shard) begin(t *topic) {
	ext := t.ext
	if ext.rereading || len(ext.page) > 0 {
		ext.batch, ext.page = append(ext.batch, ext.page...), nil
		ext.written, ext.pageBytes = ext.pageBytes, 0
	} else {
		ext.batch, ext.queue = ext.queue, ext.batch[:0]
		ext.written, ext.queued = ext.queued, 0
	}
	ext.batch = t.fresh(ext.batch)
	for _, m := range ext.batch {
		if m.news != nil {
			ext.news++
			ext.watch = sh.presence.watches[t]
		}
		if id, ok := m.except(); ok {
			ext.excepted = append(ext.excepted, id)
		}
	}
	ext.next, ext.limit = 0, t.followers.len()
	sh.count.batches.Add(1)
	for _, sub := range slices.Clone(ext.waiting) {
		sub.batch(ext.forWaiting(sub.s, t))
	}
	if t.shown {
		sh.show(t)
	}
}

// finish ends the batch.
func (sh *shard) finish(t *topic) {
	ext := t.ext
	sh.giveBack(ext.written)
	if ext.limit > 0 { // and not for a watch alone
		sh.hub.timeFanout(ext.batch)
	}
	watch, news := ext.watch, ext.news
	clear(ext.batch)
	ext.batch = ext.batch[:0]
	ext.next, ext.limit, ext.written, ext.news, ext.watch = 0, 0, 0, 0, nil
	ext.excepted = ext.excepted[:0]
	clear(ext.chunks)
	ext.chunks = ext.chunks[:0]
	for _, buf := range ext.joined {
		if len(sh.buffers) < spareBuffers {
			sh.buffers = append(sh.buffers, buf)
		}
	}
	clear(ext.joined)
	ext.joined = ext.joined[:0]
	if cap(ext.queue) > spareQueue {
		ext.queue = append([]*message(nil), ext.queue...)
	}
	if at := ext.readOn; !at.IsZero() {
		ext.readOn = pubsub.Position{}
		sh.reread(t, at)
	}
	if watch != nil {
		watch.handed(news)
	}
}

// timeFanout tells how long the events of a batch that has been written were under way.
func (h *Hub) timeFanout(batch []*message) {
	if h.cfg.OnFanout == nil {
		return
	}
	now := time.Since(h.born)
	for _, m := range batch {
		if m.came != 0 {
			h.cfg.OnFanout(m.event, now-m.came)
		}
	}
}

// dropIdleState drops the state that a topic needs only while something is on its way.
func (sh *shard) dropIdleState(t *topic) {
	ext := t.ext
	if ext == nil || t.listed || ext.rereading || len(ext.waiting) > 0 {
		return
	}
	t.ext = nil
	if len(sh.exts) < spareExts && max(cap(ext.queue), cap(ext.batch), cap(ext.waiting), cap(ext.joined), cap(ext.excepted)) <= spareQueue {
		*ext = topicExt{queue: ext.queue[:0], batch: ext.batch[:0], joined: ext.joined[:0], chunks: ext.chunks[:0], excepted: ext.excepted[:0]}
		sh.exts = append(sh.exts, ext)
	}
}

// extra returns what t has only for a moment.
func (sh *shard) extra(t *topic) *topicExt {
	if t.ext != nil {
		return t.ext
	}
	if n := len(sh.exts); n > 0 {
		t.ext = sh.exts[n-1]
		sh.exts = sh.exts[:n-1]
	} else {
		t.ext = &topicExt{}
	}
	return t.ext
}

// chunks returns the batch in format f: frames joined up to joinBytes, each chunk for one write.
func (sh *shard) chunks(ext *topicExt, f uint8) *chunks {
	for i := range ext.chunks {
		if c := &ext.chunks[i]; c.format == f {
			return c
		}
	}
	ext.chunks = append(ext.chunks, sh.join(ext, f))
	return &ext.chunks[len(ext.chunks)-1]
}

func (sh *shard) join(ext *topicExt, f uint8) chunks {
	if formats[f&^marks].words.Stamp != nil {
		return chunks{format: f, stamped: true}
	}
	c := chunks{format: f, frames: make([][]byte, 0, 1), first: make([]int, 0, 1)}
	batch := ext.batch
	if i := slices.IndexFunc(batch, func(m *message) bool { return m.ends(f) }); i >= 0 {
		batch, c.gap = batch[:i], batch[i]
	}
	for i := 0; i < len(batch); {
		frame := batch[i].frame(f, sh)
		size, n := len(frame), i+1
		for n < len(batch) {
			next := len(batch[n].frame(f, sh))
			if size+next > joinBytes {
				break
			}
			size += next
			n++
		}
		if n > i+1 {
			buf := sh.buffer()
			ext.joined = append(ext.joined, buf)
			frame = (*buf)[:0]
			for _, m := range batch[i:n] {
				frame = append(frame, m.frame(f, sh)...)
			}
		}
		if len(frame) > 0 {
			c.frames, c.first = append(c.frames, frame), append(c.first, i)
		}
		i = n
	}
	return c
}

// buffer takes a buffer of joinBytes from the shard's own, or makes one.
func (sh *shard) buffer() *[]byte {
	if n := len(sh.buffers); n > 0 {
		buf := sh.buffers[n-1]
		sh.buffers = sh.buffers[:n-1]
		return buf
	}
	buf := make([]byte, 0, joinBytes)
	return &buf
}

// topic returns the topic called name, made if nobody on the loop follows it yet.
func (sh *shard) topic(name string) *topic {
	t := sh.topics.get(name)
	if t == nil {
		t = &topic{name: name}
		sh.topics.add(t)
		sh.presence.add(t, sh.hub.cfg.Presence)
		sh.count.topics.Add(1)
	}
	return t
}

// Shared is a topic's name as the loop has it, if somebody on it follows it: one string for all who keep it.
func (s *Session) Shared(name string) string {
	if t := s.shard.topics.get(name); t != nil {
		return t.name
	}
	return name
}

// forget drops t if nobody is left, and tells the broker.
func (sh *shard) forget(t *topic) {
	if t.dead || !t.idle() {
		return
	}
	t.dead = true
	sh.topics.remove(t)
	sh.presence.remove(t)
	sh.count.topics.Add(-1)
	sh.hub.broker.Unfollow(t.name, sh.loop.Index)
}

// countResume counts how a client's return to a topic ended.
func (sh *shard) countResume(recovered bool) {
	if recovered {
		sh.count.recovered.Add(1)
	} else {
		sh.count.unrecovered.Add(1)
	}
}
