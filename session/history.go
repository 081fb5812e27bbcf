package session

import (
	"context"
	"strconv"

	"wshub/pubsub"
)

// maxHistoryBytes bounds one answer to a history request; what did not fit is asked for from the answer's
// position on.
const maxHistoryBytes = 64 << 10

// requestHistory reads a topic's log without following it.
func (s *Session) requestHistory(m *clientMessage) {
	hub := s.shard.hub
	if code, text := s.mayRead(m.Topic); code != "" {
		s.error(m.ID, code, text)
		return
	}
	limit := m.Limit
	if limit == 0 {
		limit = hub.cfg.ReplayLimit
	}
	if limit < 0 || limit > hub.cfg.ReplayLimit {
		s.error(m.ID, BadRequest, "limit: want 1 to "+strconv.Itoa(hub.cfg.ReplayLimit))
		return
	}
	var since pubsub.Position
	if m.Since != nil {
		p, err := pubsub.ParsePosition(*m.Since)
		if err != nil {
			s.error(m.ID, BadRequest, "since: want a position as the hub gave it, or \"0\"")
			return
		}
		since = p
	}
	request := *m
	queued := hub.workers.do(s.id, func(ctx context.Context) {
		replay, err := hub.broker.Replay(ctx, request.Topic, since, pubsub.Limit{Events: limit})
		s.shard.loop.Post(func() { s.answerHistory(&request, replay, err) })
	})
	if !queued {
		s.error(m.ID, Busy, "too much to do")
	}
}

// mayRead returns why the session can't read name's history, or "".
func (s *Session) mayRead(name string) (Code, string) {
	switch err := checkTopic(name); {
	case err != nil:
		return BadTopic, err.Error()
	case reserved(name, s.own), name != s.own && !s.maySubscribe(name):
		return Forbidden, "this topic is not for this session"
	}
	return "", ""
}

func (s *Session) answerHistory(m *clientMessage, replay pubsub.Replay, err error) {
	if err != nil {
		s.error(m.ID, Unavailable, "the history can't be read now")
		return
	}
	b := appendID([]byte(`{"type":"history"`), m.ID)
	b = append(b, `,"topic":`...)
	b = appendString(b, m.Topic)
	b = append(b, `,"events":[`...)
	at, more := replay.Head, false
	for i, ev := range replay.Events {
		if len(b)+len(ev.Data) > maxHistoryBytes && i > 0 {
			more = true
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"position":"`...)
		b = ev.Position.Append(b)
		b = append(b, `","data":`...)
		b = append(append(b, ev.Data...), '}')
		at = ev.Position
	}
	more = more || len(replay.Events) > 0 && at != replay.Head
	b = appendPosition(append(b, ']'), at)
	if more {
		b = append(b, `,"more":true`...)
	}
	s.send(append(b, '}'))
}
