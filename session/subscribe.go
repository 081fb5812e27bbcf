package session

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// subscribing is a session on its way to follow a topic: a state machine that lives from begin to the moment when
// the session follows, or to end. From begin on it stands in the topic's waiting list and in the session's pending
// one, and gets each batch of live events that begins meanwhile.
//
//	asking     the broker was asked to follow the topic
//	reading    the log is read: where it stands, or the first of what was missed
//	attending  the presence is read, for who watches it: see attend.go
//	gathered   it is known how the subscription comes out; its owner has not started it yet
//	replaying  what was missed leaves, page by page, then what was held
//	trailing   the replay is ahead of the loop: of each batch leaves what the replay did not have
//	over       the session follows, or the subscription has ended
//
// Live events are held up to replaying, and read from the log where they are too many. All steps run on the loop.
type subscribing struct {
	// Fixed at birth.
	s     *Session
	t     *topic
	owner owner
	since *pubsub.Position // where the client left off; nil: it asks for nothing missed
	watch bool             // it is to watch the topic's presence

	stage    stage
	entered  bool     // the session is a member already
	outcome  *Outcome // to be reported with the presence; nil but while attending
	reported bool     // the owner has the outcome
	at       int      // its place in the topic's waiting list
	tries    int      // failures in a row
	timer    *engine.Timer
	retry    func() // is called when timer has run
	read     *read  // under way or waiting for its turn

	// cursor is up to where the client has everything once out has left; zero for a topic without history.
	cursor pubsub.Position
	asOf   uint64     // number of the reading that cursor is known by: see pubsub.Replay
	missed bool       // the log has more behind cursor
	out    []*message // leaves next
	owed   int        // bytes of out, as counted with the connection

	held      []*message
	heldBytes int
	spilled   bool // what was held became too much: what the log has of it was dropped,
	torn      bool // or what it has not
	spills    int
}

type stage uint8

const (
	asking stage = iota
	reading
	attending
	gathered
	replaying
	trailing
	over
)

// retryFirst and retryLast are the waits before the first and the later tries of what the broker could not do.
const retryFirst, retryLast = time.Second, 10 * time.Second

// subscribe begins to follow a topic, if the session may; the outcome goes to owner.
func (s *Session) subscribe(name string, since *pubsub.Position, o owner) {
	s.subscribeWatching(name, since, false, o)
}

// subscribeWatching is subscribe for one that perhaps is to watch the presence.
func (s *Session) subscribeWatching(name string, since *pubsub.Position, watch bool, o owner) {
	if s.conn.Peer() == nil { // it has ended, perhaps in the write just before
		return
	}
	s.trace("subscribe", name, nil)
	r := s.denied(actFollow, name, s.mayBegin(name))
	if r.None() && watch {
		r = s.denied(actWatch, name, s.maySee(name))
	}
	if !r.None() {
		if r.Code != AlreadyFollows {
			s.dropPass(name)
		}
		o.onOutcome(nil, Outcome{Topic: name, Refusal: r, Asked: since != nil})
		return
	}
	t := s.shard.topic(name)
	if t.confirmed && since == nil && !watch && !o.gathers() && !s.shard.hub.keeps(name) {
		s.follow(t)
		o.onOutcome(nil, Outcome{Topic: name})
		return
	}
	(&subscribing{s: s, t: t, owner: o, since: since, watch: watch}).begin()
}

// begin holds, and asks the broker to follow the topic if nobody has yet.
func (sub *subscribing) begin() {
	s, t := sub.s, sub.t
	sh := s.shard
	ext := sh.extra(t)
	sub.at = len(ext.waiting)
	ext.waiting = append(ext.waiting, sub)
	w := s.working()
	w.pending = append(w.pending, sub)
	sh.subs++
	sub.ask()
}

func (sub *subscribing) ask() {
	t := sub.t
	sh := sub.s.shard
	sub.stage = asking
	switch {
	case t.confirmed:
		sub.readLog()
	case !t.asked:
		sh.follow(t)
	}
}

// follow asks the broker to follow t.
func (sh *shard) follow(t *topic) {
	t.asked = true
	sh.hub.broker.Follow(t.name, sh.loop.Index, func(err error) {
		sh.loop.Post(func() { sh.followed(t, err) })
	})
}

// followed is the broker's answer for t.
func (sh *shard) followed(t *topic, err error) {
	t.asked = false
	t.confirmed = err == nil
	if t.dead || t.ext == nil {
		return
	}
	sh.answer(slices.Clone(t.ext.waiting), err)
}

// answer goes on with those who waited for the broker's answer, a slice at a time.
func (sh *shard) answer(waiting []*subscribing, err error) {
	n := min(len(waiting), sliceWrites)
	for _, sub := range waiting[:n] {
		switch {
		case sub.stage != asking: // past this
		case err == nil:
			sub.readLog()
		case sub.since == nil && sub.owner.patient():
			// Nobody waits for an answer: the topic stays wanted, and its events come when the broker is back.
			sub.onLogRead(pubsub.Replay{}, nil)
		default:
			sub.fail(followRefusal(err))
		}
	}
	if rest := waiting[n:]; len(rest) > 0 {
		sh.loop.Post(func() { sh.answer(rest, err) })
	}
}

// followRefusal is the client's answer for a topic that can't be followed.
func followRefusal(err error) Refusal {
	if errors.Is(err, pubsub.ErrRefused) {
		return Refusal{Refused, "the broker refuses to read the topic's log; nothing is followed"}
	}
	return Refusal{Unavailable, "the broker does not answer; nothing is followed"}
}

// readLog reads the log's head and the first page of missed events.
func (sub *subscribing) readLog() {
	hub := sub.s.shard.hub
	sub.stage = reading
	sub.calm()
	if !hub.keeps(sub.t.name) {
		sub.onLogRead(pubsub.Replay{}, nil)
		return
	}
	r := &read{topic: sub.t.name, done: sub.onLogRead}
	if sub.since != nil {
		r.since, r.limit = *sub.since, pubsub.Limit{Events: pageEvents, Bytes: firstPage}
	}
	sub.read = r
	sub.s.queueRead(r)
}

// onLogRead takes the broker's answer to readLog.
func (sub *subscribing) onLogRead(replay pubsub.Replay, err error) {
	sub.read = nil
	switch {
	case err == nil:
	case sub.since == nil && sub.owner.patient():
		replay = pubsub.Replay{} // to hear without a position is better than not to hear
	default:
		sub.fail(readRefusal(err))
		return
	}
	s := sub.s
	if r := s.mayFollow(sub.t.name); !r.None() { // another token came meanwhile
		sub.end(r)
		return
	}
	sub.tries = 0
	sub.cursor, sub.asOf = replay.Head, replay.Read
	o := Outcome{Topic: sub.t.name, Asked: sub.since != nil, Position: replay.Head, Head: replay.Head}
	if sub.since != nil {
		o.Recovered = replay.Recovered && replay.Missed <= s.shard.hub.cfg.ReplayLimit
		s.shard.countResume(o.Recovered)
	}
	if o.Recovered && replay.Missed > 0 {
		o.Position = *sub.since
		sub.cursor, sub.missed = *sub.since, true
		sub.keep(replay, min(firstPage, s.shard.hub.maxChunk-s.working().inHand()))
		sub.dropLogged()
	}
	if sub.watch {
		sub.attend(o)
	} else {
		sub.report(o)
	}
}

// report gives the owner the outcome.
func (sub *subscribing) report(o Outcome) {
	sub.stage, sub.reported = gathered, true
	if sub.owner.onOutcome(sub, o) {
		sub.start()
	}
}

// start lets what was missed leave. The client has been answered.
func (sub *subscribing) start() {
	if sub.stage != gathered { // it ended in the answer's write
		return
	}
	sub.stage = replaying
	if !sub.missed && len(sub.out)+len(sub.held) == 0 && !sub.spilled && !sub.torn {
		sub.catchUp() // by far the most
		return
	}
	w := sub.s.working()
	w.replays = append(w.replays, sub)
	sub.s.pump()
}

// catchUp is called when everything before the live events is written.
func (sub *subscribing) catchUp() {
	t := sub.t
	// Nothing was published up to a place, so nothing that lies before it can be on its way.
	if place := sub.cursor.ID.Seq == 0; place || t.last.Compare(sub.cursor.ID) >= 0 {
		sub.finish()
		return
	}
	sub.stage = trailing
	t.ext.trailing++
	sub.s.stopReplay(sub)
	sub.s.shard.endTrailing(t)
}

// endTrailing lets those follow who trail where nobody needs what they wait for: there are no followers yet, nothing is
// queued, and all who wait for the topic have read its log.
func (sh *shard) endTrailing(t *topic) {
	ext := t.ext
	if t.followers.len() > 0 || t.listed || ext.trailing < len(ext.waiting) {
		return
	}
	t.last = slices.MinFunc(ext.waiting, func(a, b *subscribing) int { return a.cursor.ID.Compare(b.cursor.ID) }).cursor.ID
	sh.letIn(slices.Clone(ext.waiting))
}

// letIn lets those follow whom the loop has caught up with, a slice at a time.
func (sh *shard) letIn(waiting []*subscribing) {
	n := min(len(waiting), sliceWrites)
	for _, sub := range waiting[:n] {
		if sub.stage == trailing && sub.t.last.Compare(sub.cursor.ID) >= 0 {
			sub.finish()
		}
	}
	if rest := waiting[n:]; len(rest) > 0 {
		sh.loop.Post(func() { sh.letIn(rest) })
	}
}

// finish makes the session a follower.
func (sub *subscribing) finish() {
	s := sub.s
	if r := s.mayKeep(sub.t.name); !r.None() {
		sub.end(r)
		return
	}
	sub.leave()
	if sub.entered {
		s.list(sub.t)
	} else {
		s.follow(sub.t)
	}
}

// fail is called when the broker can't do now what the subscription needs next. A client that waits for an answer gets
// it; otherwise the same is tried again.
func (sub *subscribing) fail(why Refusal) {
	if !sub.owner.patient() {
		sub.end(why)
		return
	}
	sub.later(sub.ask)
	sub.s.protocol().Unasked(sub.s, Outcome{Topic: sub.t.name, Refusal: why, Later: true})
}

// later has f called after a while that grows with each failure.
func (sub *subscribing) later(f func()) {
	wait := min(retryFirst<<min(sub.tries, 5), retryLast)
	sub.tries++
	sub.retry = f
	sub.timer = sub.s.shard.loop.After(wait/2+rand.N(wait/2), sub.again)
}

// again does what later put off.
func (sub *subscribing) again() {
	f := sub.retry
	sub.calm()
	f()
}

// calm forgets what later put off.
func (sub *subscribing) calm() {
	sub.s.shard.loop.Stop(sub.timer)
	sub.timer, sub.retry = nil, nil
}

// end is the one way out besides following: the owner is told, unless it has been; then a client that may not follow
// any more is told by an error of its own.
func (sub *subscribing) end(why Refusal) {
	if sub.stage == over {
		return
	}
	s, t := sub.s, sub.t
	if why.Code != NotSubscribed { // the client's own wish
		s.denied(actFollow, t.name, why)
	}
	sub.leave()
	sub.unattend()
	s.dropLag(t)
	s.dropPass(t.name)
	s.shard.forget(t)
	if !sub.reported {
		sub.reported = true
		sub.owner.onOutcome(sub, Outcome{Topic: t.name, Refusal: why, Asked: sub.since != nil})
	} else if why.Code == Forbidden || why.Code == ExpiredToken {
		s.protocol().Left(s, t.name, why)
	}
	s.missOwn(t.name)
}

// leave takes sub off all lists and gives back what it has.
func (sub *subscribing) leave() {
	s, t, ext := sub.s, sub.t, sub.t.ext
	if sub.stage == trailing {
		ext.trailing--
	}
	sub.stage = over
	s.shard.subs--
	last := len(ext.waiting) - 1
	ext.waiting[sub.at] = ext.waiting[last]
	ext.waiting[sub.at].at = sub.at
	ext.waiting[last] = nil
	ext.waiting = ext.waiting[:last]
	s.shard.dropIdleState(t)

	sub.calm()
	if sub.read != nil {
		s.dropRead(sub.read)
	}
	sub.owe(-sub.owed)
	sub.out = nil
	sub.dropHeld()
	s.stopReplay(sub)
	w := s.working()
	w.pending = slices.DeleteFunc(w.pending, func(other *subscribing) bool { return other == sub })
	s.trim()
}
