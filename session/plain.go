package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"wshub/pubsub"
)

// publishPlain publishes what a plain client sent, as it stands, to the session's target topic. It is
// answered only if that does not work.
func (s *Session) publishPlain(payload []byte) {
	if !json.Valid(payload) {
		s.error(nil, BadJSON, "the message is not JSON")
		return
	}
	target := s.shard.hub.cfg.Broadcast
	if s.ext != nil && s.ext.target != "" {
		target = s.ext.target
	}
	if !s.mayPublish(target) {
		s.error(nil, Forbidden, "this session may not publish to "+target)
		return
	}
	s.publish(nil, pubsub.Publication{Topic: strings.Clone(target), Data: bytes.Clone(payload)}, false)
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
