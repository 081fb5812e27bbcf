package session

import (
	"encoding/json"
	"strconv"
	"strings"

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
	format format
	v1     bool
	// Owned by the loop: events wait in the pump, see lag. It stands where it costs no memory.
	lagging bool
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
	work    *work         // nil unless something is on its way
	allowed bucket        // the messages that it may send now
	surplus bool          // one more than its user may have: see surplus.go
	authing bool          // a token is being checked
	target  string        // plain mode: what it sends goes there; "" for the broadcast topic
	grant   *grant        // what its token says; nil without one
	silence *engine.Timer // hub.v1: runs until the own topic is followed
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

// user is whose session it is, "" if anonymous.
func (s *Session) user() string { return strings.TrimPrefix(s.own, userPrefix) }

// name is the session's public name.
func (s *Session) name() string { return sessionName(s.id) }

const namePrefix = "s_"

func sessionName(id uint64) string { return namePrefix + strconv.FormatUint(id, 36) }

// parseName is the id behind a public name.
func parseName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, namePrefix)
	id, err := strconv.ParseUint(digits, 36, 64)
	return id, ok && err == nil
}

// Message implements engine.Peer.
func (s *Session) Message(op engine.Opcode, payload []byte) {
	s.shard.count.messages.Add(1)
	if op != engine.OpText {
		s.conn.Close(BinaryFrame)
		return
	}
	if !s.admit(1+len(payload)/chargeBytes, payload) {
		return
	}
	if s.v1 {
		s.request(payload)
	} else {
		s.publishPlain(payload)
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
	if s.take((frames+chargeFrames-1)/chargeFrames) == abused {
		s.conn.Close(RateExceeded)
	}
}

// take asks for n messages' worth of the session's rate.
func (s *Session) take(n int) verdict {
	cfg := &s.shard.hub.cfg
	if cfg.MessageRate < 0 {
		return granted
	}
	return s.extra().allowed.take(s.shard.hub.clock(), cfg.MessageRate, cfg.MessageBurst, n)
}

// admit tells whether the session may send payload now, which costs as much as n messages. If not, it is answered; who
// keeps on sending is cut.
func (s *Session) admit(n int, payload []byte) bool {
	switch s.take(n) {
	case denied:
		s.shard.count.drops.Add("rate_limit")
		s.error(s.requestID(payload), RateLimited, "too many messages; this one was dropped")
		return false
	case abused:
		s.conn.Close(RateExceeded)
		return false
	}
	return true
}

// Closed implements engine.Peer: it takes the session out of every list.
func (s *Session) Closed(*engine.Cause) {
	sh := s.shard
	s.publishAllEarly() // the client may be gone, but has sent it
	for len(s.subs) > 0 {
		s.unfollow(len(s.subs) - 1)
	}
	s.dropReads()
	for w := s.busy(); w != nil && len(w.pending) > 0; w = s.busy() {
		w.pending[0].end(refusal{})
	}
	if s.ext != nil {
		s.stopSilence()
		s.ext.grant.stop(sh.loop)
	}
	sh.members.remove(s)
	if s.v1 {
		sh.count.v1.Add(-1)
		if sh.resumable[s.id] == s {
			delete(sh.resumable, s.id)
		}
	} else {
		sh.count.plain.Add(-1)
	}
	sh.hub.users.leave(s.user())
}

// follow makes the session one of t's followers.
func (s *Session) follow(t *topic) {
	s.subs = append(s.subs, subscription{t, t.followers.add(s)})
	s.shard.subs++
	s.shard.count.subscriptions.Add(1)
}

// unfollow ends the subscription at index i. Nothing of its topic leaves any more, but for what the connection has.
func (s *Session) unfollow(i int) {
	sub := s.subs[i]
	last := len(s.subs) - 1
	s.subs[i] = s.subs[last]
	s.subs[last] = subscription{}
	s.subs = s.subs[:last]
	sub.topic.remove(sub.at, func(moved *Session, to int) { moved.moved(sub.topic, to) })
	s.shard.subs--
	s.shard.count.subscriptions.Add(-1)
	s.dropLag(sub.topic)
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

// send sends one JSON message.
func (s *Session) send(payload []byte) bool {
	return s.conn.Write(textFrame(payload))
}

// error tells the client that something did not work, in either mode.
func (s *Session) error(id json.RawMessage, code Code, text string) {
	s.shard.count.errors.Add(string(code))
	s.send(appendError(nil, id, code, text))
}

// refuse answers the request with this id by r.
func (s *Session) refuse(id json.RawMessage, r refusal) { s.error(id, r.code, r.text) }
