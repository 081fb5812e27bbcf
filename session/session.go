package session

import (
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"wshub/engine"
)

// Session is what the hub knows of one connection. It is the connection's engine.Peer, and like it lives
// on one loop.
type Session struct {
	// Fixed at birth.
	conn   *engine.Conn
	shard  *shard
	own    string // the topic of its user, "" for an anonymous one
	id     uint64
	format uint8 // see Format
	speaks uint8 // of hub.protocols
	// Owned by the loop: events wait in the pump, see lag. It stands where it costs no memory.
	lagging bool
	traced  bool // owned by the loop, too: see tracing
	// Set once, by a resume; 0 without one.
	generation generation

	// Owned by the loop.
	subs []subscription
	ext  *sessionExt // what a session has that does more than listen; nil otherwise
}

// subscription is a followed topic, and where in its list of followers the session stands.
type subscription struct {
	topic *topic
	at    int
}

type sessionExt struct {
	work    *work  // nil unless something is on its way
	allowed bucket // the messages that it may send now
	surplus bool   // one more than its user may have: see surplus.go
	// unopened: the broker is still to be told of the session. See delayOpening.
	unopened bool
	authing  bool          // a token is being checked
	state    any           // the protocol's own
	grant    *grant        // what its token says; nil without one
	silence  *engine.Timer // runs until the own topic is followed
	rare     *rarities     // nil without any
}

func (s *Session) extra() *sessionExt {
	if s.ext == nil {
		s.ext = &sessionExt{}
	}
	return s.ext
}

// trim lets go of the extra state once there is nothing in it.
func (s *Session) trim() {
	e := s.ext
	if e == nil {
		return
	}
	if e.work != nil && e.work.idle() {
		e.work = nil
	}
	if *e == (sessionExt{}) {
		s.ext = nil
	}
}

// User is whose session it is, "" if anonymous.
func (s *Session) User() string { return s.user() }

// Own is the topic of the session's user, "" if anonymous.
func (s *Session) Own() string { return s.own }

// Name is the session's public name.
func (s *Session) Name() string { return s.name() }

func (s *Session) user() string { return strings.TrimPrefix(s.own, userPrefix) }

func (s *Session) name() string { return sessionName(s.id) }

const namePrefix = "s_"

func sessionName(id uint64) string { return namePrefix + strconv.FormatUint(id, 36) }

// ValidName tells whether name can be a session's public name.
func ValidName(name string) bool {
	_, ok := parseName(name)
	return ok
}

// parseName is the id behind a public name.
func parseName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, namePrefix)
	id, err := strconv.ParseUint(digits, 36, 64)
	return id, ok && err == nil
}

// Message implements engine.Peer.
func (s *Session) Message(op engine.Opcode, payload []byte) {
	if s.traced {
		s.trace("message", "", func(e *zerolog.Event) { e.Int("bytes", len(payload)) })
	}
	s.shard.count.messages.Add(1)
	now := s.shard.hub.clock()
	s.shard.received.add(s, now)
	switch s.spendAt(now, 1+len(payload)/chargeBytes) {
	case granted:
		s.protocol().Message(s, op, payload)
	case denied:
		s.drop("rate_limit", "", "a message over --message-rate")
		s.protocol().Denied(s, op, payload)
	case abused:
		s.conn.Close(RateExceeded)
	}
}

const (
	// chargeBytes of a message cost as much as a message more: at the default rate 1.6 MB per second.
	chargeBytes = 16 << 10
	// chargeFrames control frames or fragments cost as much as a message: they only pass the parser.
	chargeFrames = 8
)

// Overhead implements engine.Peer: it charges the frames that carried no message.
func (s *Session) Overhead(frames int) {
	if s.spend((frames+chargeFrames-1)/chargeFrames) == abused {
		s.conn.Close(RateExceeded)
	}
}

// spend asks for n messages' worth of the session's rate.
func (s *Session) spend(n int) verdict { return s.spendAt(s.shard.hub.clock(), n) }

func (s *Session) spendAt(now uint32, n int) verdict {
	cfg := &s.shard.hub.cfg
	if cfg.MessageRate < 0 {
		return granted
	}
	return s.extra().allowed.spend(now, cfg.MessageRate, cfg.MessageBurst, n)
}

// Charge takes n messages more from the session's rate: for a frame that asks for several things. It is false if the
// rate is used up: deny the frame. A client that keeps on sending is cut. A negative n gives tokens back.
func (s *Session) Charge(n int) bool {
	switch s.spend(n) {
	case denied:
		s.drop("rate_limit", "", "a command over --message-rate")
		return false
	case abused:
		s.conn.Close(RateExceeded)
		return false
	}
	return true
}

// Closed implements engine.Peer: it takes the session out of every list.
func (s *Session) Closed(cause *engine.Cause) {
	sh := s.shard
	s.noteCut(cause)
	s.protocol().Closed(s)
	s.goAway(cause) // with the personas of its passes
	s.dropPasses()
	for len(s.subs) > 0 {
		s.unlist(len(s.subs) - 1)
	}
	s.dropReads()
	for w := s.busy(); w != nil && len(w.pending) > 0; w = s.busy() {
		w.pending[0].end(Refusal{})
	}
	if s.ext != nil {
		s.stopSilence()
		s.ext.grant.stop(sh.loop)
	}
	sh.members.remove(s)
	sh.count.sessions[s.speaks].Add(-1)
	if sh.named[s.id] == s {
		delete(sh.named, s.id)
	}
	sh.hub.users.leave(s.user())
}

// follow makes the session one of t's followers, and a member of it.
func (s *Session) follow(t *topic) {
	s.list(t)
	s.enter(t, nil)
}

// list makes the session one of t's followers.
func (s *Session) list(t *topic) {
	s.subs = append(s.subs, subscription{t, t.followers.add(s)})
	s.shard.subs++
	s.shard.count.subscriptions.Add(1)
}

// unfollow ends the subscription at index i. Nothing of its topic leaves any more, but for what the connection has.
func (s *Session) unfollow(i int) {
	s.leave(s.subs[i].topic)
	s.unlist(i)
}

// unlist is unfollow for a session that stays a member, or has left.
func (s *Session) unlist(i int) {
	sub := s.subs[i]
	s.unwatch(sub.topic)
	last := len(s.subs) - 1
	s.subs[i] = s.subs[last]
	s.subs[last] = subscription{}
	s.subs = s.subs[:last]
	sub.topic.remove(sub.at, func(moved *Session, to int) { moved.moved(sub.topic, to) })
	s.shard.subs--
	s.shard.count.subscriptions.Add(-1)
	s.dropLag(sub.topic)
	s.dropPass(sub.topic.name)
	s.shard.forget(sub.topic)
}

// moved notes a new place among t's followers.
func (s *Session) moved(t *topic, to int) {
	for i := range s.subs {
		if s.subs[i].topic == t {
			s.subs[i].at = to
			return
		}
	}
}

// following returns the index of the subscription to name, or -1.
func (s *Session) following(name string) int {
	for i := range s.subs {
		if s.subs[i].topic.name == name {
			return i
		}
	}
	return -1
}

// waitingFor returns the subscription to name that is on its way, or nil.
func (s *Session) waitingFor(name string) *subscribing {
	if w := s.busy(); w != nil {
		for _, sub := range w.pending {
			if sub.t.name == name {
				return sub
			}
		}
	}
	return nil
}

// topics is the number of topics that the session follows or is about to.
func (s *Session) topics() int {
	if w := s.busy(); w != nil {
		return len(s.subs) + len(w.pending)
	}
	return len(s.subs)
}

// Write sends frames, one or more, behind what is queued. They may be shared. False means that the session has ended.
func (s *Session) Write(frames []byte) bool { return s.conn.Write(frames) }

// Open reports whether the session has not ended.
func (s *Session) Open() bool { return s.conn.Peer() == s }

// Close ends the session.
func (s *Session) Close(cause *engine.Cause) { s.conn.Close(cause) }

// Owe counts n more bytes, or less if n is negative, that are kept for the client: see engine.Conn.Owe.
func (s *Session) Owe(n int) { s.conn.Owe(n) }

// After calls f on the session's loop once d has passed; Stop keeps it from being called.
func (s *Session) After(d time.Duration, f func()) *engine.Timer { return s.shard.loop.After(d, f) }

// Stop stops a timer of After, or nil.
func (s *Session) Stop(t *engine.Timer) { s.shard.loop.Stop(t) }

// Hub is the session's hub.
func (s *Session) Hub() *Hub { return s.shard.hub }

// CountError counts an error that the client was told.
func (s *Session) CountError(code Code) {
	s.shard.count.errors.Add(string(code))
	if s.traced {
		s.trace("error", "", func(e *zerolog.Event) { e.Str("code", string(code)) })
	}
}

// Drop counts, by name, something of the client's that is dropped, and notes why.
func (s *Session) Drop(name, why string) { s.drop(name, "", why) }
