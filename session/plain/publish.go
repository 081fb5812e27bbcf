package plain

import (
	"bytes"

	"wshub/pubsub"
	"wshub/session"
)

// state is what a plain session has that follows other topics than the broadcast one, or sent something early.
type state struct {
	target string // what it sends goes there; "" for the broadcast topic
	early  *early // nil without any
}

func stateOf(s *session.Session) *state {
	st, _ := s.State().(*state)
	return st
}

// early are the messages that came before the session's topics were followed.
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

// publish publishes what a client sent, as it stands, to the session's target topic. It is answered only if that does not
// work. While the client's own topics are not followed yet it waits: the client hears what it sends.
func publish(s *session.Session, payload []byte) {
	if !s.PendingUnasked() {
		publishNow(s, payload)
		return
	}
	st := stateOf(s)
	if st == nil {
		st = &state{}
		s.SetState(st)
	}
	if st.early == nil {
		st.early = &early{}
	}
	if !st.early.add(payload, s.Hub().Config().MaxHold) {
		s.Drop("early_full", "too much was sent before the topics are followed")
		refuse(s, session.Refusal{Code: session.Busy, Text: "too much was sent before the topics are followed; the message was dropped"})
		return
	}
	s.Owe(len(payload)) // it may end the session
}

// publishNow publishes payload, which may lie in the client's frame.
func publishNow(s *session.Session, payload []byte) {
	target := s.Hub().Config().Broadcast
	if st := stateOf(s); st != nil && st.target != "" {
		target = st.target
	}
	s.Publish(pubsub.Publication{Topic: target, Data: payload}, true, func(_ pubsub.Position, r session.Refusal) {
		if r.Code == session.Forbidden {
			r.Text = "this session may not publish to " + target
		}
		refuse(s, r)
	})
}

// publishEarly publishes what waited for the session's topics, if nothing keeps it any more.
func publishEarly(s *session.Session) {
	if !s.PendingUnasked() {
		publishAllEarly(s)
	}
}

// publishAllEarly publishes what waited, whether the topics are followed or not.
func publishAllEarly(s *session.Session) {
	st := stateOf(s)
	if st == nil || st.early == nil {
		return
	}
	waiting := st.early.messages
	s.Owe(-st.early.bytes)
	st.early = nil
	if st.target == "" {
		s.SetState(nil)
	}
	for _, payload := range waiting {
		publishNow(s, payload)
	}
}
