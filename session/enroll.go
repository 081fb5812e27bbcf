package session

import (
	"encoding/json"
	"time"

	"wshub/pubsub"
)

// Persona is how others see a session in one topic: see pubsub.Member.
type Persona struct {
	User string
	Info json.RawMessage
}

// nobody is the Persona of an anonymous session.
var nobody = &Persona{}

// Enroll gives the session every right to topic that a client can have: to follow it, to read its history, to publish to it
// and to see its members; as Allow does, without an end. as, which is kept, is how others see the session there; nil is as an
// anonymous one. Refusals are those of Allow.
func (s *Session) Enroll(topic string, as *Persona) Refusal {
	if as == nil {
		as = nobody
	}
	r := s.Allow(topic, time.Time{})
	if r.None() {
		s.pass(topic).as = as
	}
	return r
}

// Persona is how others see the session in topic if it is enrolled there, else nil.
func (s *Session) Persona(topic string) *Persona {
	if p := s.pass(topic); p != nil {
		return p.as
	}
	return nil
}

// memberIn is the session as others see it in topic.
func (s *Session) memberIn(topic string) pubsub.Member {
	m := s.member()
	if as := s.Persona(topic); as != nil {
		m.User, m.Info = as.User, as.Info
	}
	return m
}
