package session

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"wshub/pubsub"
)

// MaxKey bounds an idempotency key, in bytes.
const MaxKey = 128

// Publish publishes what the client sent, if the session may: the topic, the data, which may lie in the client's frame,
// the key, and attributes, which it keeps. reply is called exactly once, now or later, on the loop, with where the event stands or why it was not
// published; quiet leaves out the reply to what went well.
func (s *Session) Publish(p pubsub.Publication, quiet bool, reply func(pubsub.Position, Refusal)) {
	sh := s.shard
	if s.traced {
		s.trace("publish", p.Topic, func(e *zerolog.Event) { e.Int("data_bytes", len(p.Data)) })
	}
	if r := s.mayPublishTo(p.Topic); !r.None() {
		reply(pubsub.Position{}, s.denied(actPublish, p.Topic, r))
		return
	}
	if len(p.Key) > MaxKey {
		reply(pubsub.Position{}, Refusal{BadRequest, fmt.Sprintf("key: at most %d bytes", MaxKey)})
		return
	}
	if err := p.Attributes.Validate(); err != nil {
		reply(pubsub.Position{}, Refusal{BadRequest, err.Error()})
		return
	}
	p.Data, p.Caller = bytes.Clone(p.Data), s.caller()
	queued := sh.hub.workers.put(s.id, task{publication: p, published: func(r pubsub.Result) {
		switch {
		case r.Err != nil:
			sh.loop.Post(func() { reply(pubsub.Position{}, explain(r.Err)) })
		case quiet:
			sh.count.published.Add(1)
		default:
			sh.count.published.Add(1)
			sh.loop.Post(func() { reply(r.Position, Refusal{}) })
		}
	}})
	if !queued {
		s.drop("worker_queue_full", p.Topic, "too many publications wait for the broker")
		reply(pubsub.Position{}, Refusal{Busy, "too much to do; the message was dropped"})
	}
}

// caller is the scope of the session's idempotency keys: its user's topic, or the session itself.
func (s *Session) caller() string {
	if s.own != "" {
		return s.own
	}
	return s.name()
}

// explain turns a broker's error into the client's answer.
func explain(err error) Refusal {
	switch {
	case errors.Is(err, pubsub.ErrUnavailable):
		return Refusal{Unavailable, "the broker can't be reached; nothing was published"}
	case errors.Is(err, pubsub.ErrUnknownOutcome):
		return Refusal{UnknownOutcome, "the broker's answer got lost; it may or may not have been published"}
	case errors.Is(err, pubsub.ErrRefused):
		return Refusal{Refused, "the broker refused it"}
	}
	return Refusal{Internal, "it could not be published"}
}
