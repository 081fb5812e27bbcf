package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"wshub/pubsub"
)

// publishPlain publishes what a plain client sent, as it stands, to the session's target topic. It is
// answered only if that does not work. While the client's own topics are not followed yet it waits: the client hears
// what it sends.
func (s *Session) publishPlain(payload []byte) {
	if !json.Valid(payload) {
		s.error(nil, BadJSON, "the message is not JSON")
		return
	}
	if s.settling() {
		if !s.working().early.add(payload, s.shard.hub.cfg.MaxHold) {
			s.shard.count.drops.Add("early_full")
			s.error(nil, Busy, "too much was sent before the topics are followed; the message was dropped")
		}
		return
	}
	s.publishTarget(payload)
}

// publishTarget publishes payload, which may lie in the client's frame.
func (s *Session) publishTarget(payload []byte) {
	target := s.shard.hub.cfg.Broadcast
	if s.ext != nil && s.ext.target != "" {
		target = s.ext.target
	}
	if r := s.mayPublishTo(target); !r.none() {
		s.error(nil, r.code, "this session may not publish to "+target)
		return
	}
	s.publish(nil, pubsub.Publication{Topic: strings.Clone(target), Data: bytes.Clone(payload)}, false)
}

// early are the messages that came before a plain session's topics were followed.
type early struct {
	messages [][]byte
	bytes    int
}

// maxEarly bounds the messages that wait so.
const maxEarly = 64

// add keeps a copy of payload, unless too much waits already.
func (e *early) add(payload []byte, limit int) bool {
	if len(e.messages) == maxEarly || len(e.messages) > 0 && e.bytes+len(payload) > limit {
		return false
	}
	e.messages = append(e.messages, bytes.Clone(payload))
	e.bytes += len(payload)
	return true
}

// settling tells whether a plain session has topics that it follows soon.
func (s *Session) settling() bool {
	w := s.busy()
	if w == nil || s.v1 {
		return false
	}
	for _, sub := range w.pending {
		if !sub.settled && sub.tries == 0 {
			return true
		}
	}
	return false
}

// publishEarly publishes what waited for the session's topics, if nothing keeps it any more.
func (s *Session) publishEarly() {
	if !s.settling() {
		s.publishAllEarly()
	}
}

// publishAllEarly publishes what waited, whether the topics are followed or not.
func (s *Session) publishAllEarly() {
	w := s.busy()
	if w == nil || len(w.early.messages) == 0 {
		return
	}
	waiting := w.early.messages
	w.early = early{}
	for _, payload := range waiting {
		s.publishTarget(payload)
	}
}

// publish hands p to a worker. The answer, an error or with ok also the success, echoes id.
func (s *Session) publish(id json.RawMessage, p pubsub.Publication, ok bool) {
	sh := s.shard
	p.Caller = s.caller()
	queued := sh.hub.workers.put(s.id, task{publication: p, published: func(r pubsub.Result) {
		switch {
		case r.Err != nil:
			sh.loop.Post(func() {
				code, text := explain(r.Err)
				s.error(id, code, text)
			})
		case ok:
			sh.count.published.Add(1)
			sh.loop.Post(func() {
				out := appendID([]byte(`{"type":"ok"`), id)
				s.send(append(appendPosition(out, r.Position), '}'))
			})
		default:
			sh.count.published.Add(1)
		}
	}})
	if !queued {
		sh.count.drops.Add("worker_queue_full")
		s.error(id, Busy, "too much to do; the message was dropped")
	}
}

// caller is the scope of the session's idempotency keys: its user's topic, or the session itself.
func (s *Session) caller() string {
	if s.own != "" {
		return s.own
	}
	return s.name()
}

// explain turns a broker's error into what a client is told.
func explain(err error) (Code, string) {
	switch {
	case errors.Is(err, pubsub.ErrUnavailable):
		return Unavailable, "the broker can't be reached; nothing was published"
	case errors.Is(err, pubsub.ErrUnknownOutcome):
		return UnknownOutcome, "the broker's answer got lost; it may or may not have been published"
	case errors.Is(err, pubsub.ErrRefused):
		return Refused, "the broker refused it"
	}
	return Internal, "it could not be published"
}
