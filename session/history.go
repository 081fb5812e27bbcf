package session

import (
	"strconv"

	"wshub/pubsub"
)

const (
	// maxHistoryBytes bounds the events of one answer to a history request; the others are asked for from the answer's
	// position on.
	maxHistoryBytes = 64 << 10
	// maxHistories bounds the history requests of one session that wait for their turn.
	maxHistories = 64
)

// History reads a topic's log without following it: up to limit events behind since, or backwards the last ones before
// it, newest first, of up to 64 KiB together. reply is
// called exactly once, now or later, unless the session ends: with what was read, if the session still may see it then.
func (s *Session) History(topic string, since pubsub.Position, limit int, backwards bool, reply func(pubsub.Replay, Refusal)) {
	hub := s.shard.hub
	s.trace("history", topic, nil)
	if r := s.mayRead(topic); !r.None() {
		reply(pubsub.Replay{}, s.denied(actRead, topic, r))
		return
	}
	if limit < 0 || limit > hub.cfg.ReplayLimit {
		reply(pubsub.Replay{}, Refusal{BadRequest, "limit: want a whole number from 1 to " + strconv.Itoa(hub.cfg.ReplayLimit)})
		return
	}
	if w := s.busy(); w != nil && len(w.reads) >= maxHistories {
		s.drop("history_queue_full", topic, "the session has too many requests for histories")
		reply(pubsub.Replay{}, Refusal{Busy, "too many requests of this session wait"})
		return
	}
	s.queueRead(&read{topic: topic, since: since, limit: pubsub.Limit{Events: limit, Bytes: maxHistoryBytes, Backwards: backwards}, done: func(replay pubsub.Replay, err error) {
		switch r := s.mayRead(topic); {
		case err != nil:
			reply(pubsub.Replay{}, readRefusal(err))
		case !r.None():
			reply(pubsub.Replay{}, s.denied(actRead, topic, r))
		default:
			reply(replay, Refusal{})
		}
	}})
}
