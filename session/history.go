package session

import (
	"slices"
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

// requestHistory reads a topic's log without following it.
func (s *Session) requestHistory(m *request) {
	hub := s.shard.hub
	name, ok := s.readText(m, "topic", m.topic)
	if !ok {
		return
	}
	if r := s.mayFollow(name); !r.none() {
		s.refuse(m.id, r)
		return
	}
	limit, ok := number(m.limit)
	if limit == 0 {
		limit = hub.cfg.ReplayLimit
	}
	if !ok || limit < 0 || limit > hub.cfg.ReplayLimit {
		s.error(m.id, BadRequest, "limit: want 1 to "+strconv.Itoa(hub.cfg.ReplayLimit))
		return
	}
	since, ok := s.readSince(m)
	if !ok {
		return
	}
	if since == nil {
		since = &pubsub.Position{}
	}
	if w := s.busy(); w != nil && len(w.reads) >= maxHistories {
		s.shard.count.drops.Add("history_queue_full")
		s.error(m.id, Busy, "too many requests of this session wait")
		return
	}
	id := m.id
	s.queueRead(&read{topic: name, since: *since, limit: pubsub.Limit{Events: limit, Bytes: maxHistoryBytes}, done: func(replay pubsub.Replay, err error) {
		s.answerHistory(id, name, replay, err)
	}})
}

// answerHistory sends a page, if the session still may see it. recovered says that nothing is missing between the
// position asked for and the answer's; more, that the log goes on behind that.
func (s *Session) answerHistory(id []byte, name string, replay pubsub.Replay, err error) {
	if err != nil {
		s.refuse(id, readRefusal(err))
		return
	}
	if r := s.mayFollow(name); !r.none() {
		s.refuse(id, r)
		return
	}
	b := slices.Grow(appendID([]byte(`{"type":"history"`), id), 256)
	b = append(b, `,"topic":`...)
	b = appendString(b, name)
	b = append(b, `,"events":[`...)
	at := replay.Head
	for i, ev := range replay.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"position":"`...)
		b = ev.Position.Append(b)
		b = append(b, `","data":`...)
		b = append(append(b, ev.Data...), '}')
		at = ev.Position
	}
	b = appendPosition(append(b, ']'), at)
	b = strconv.AppendBool(append(b, `,"recovered":`...), replay.Recovered)
	if len(replay.Events) > 0 && at != replay.Head {
		b = append(b, `,"more":true`...)
	}
	s.send(append(b, '}'))
}
