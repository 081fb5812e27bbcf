package session

import (
	"encoding/json"
	"strconv"

	"wshub/pubsub"
)

// owner is who a subscription is for: a request, a resume, or nobody.
type owner interface {
	// settle is called exactly once for each subscription, with how it comes out. True starts the subscription, if
	// there is one; the owner may start it later instead.
	settle(sub *subscribing, o outcome) (start bool)
	// patient tells whether what can't be had now is tried for again rather than refused.
	patient() bool
	// gathers tells whether the owner starts subscriptions later than it is told of them.
	gathers() bool
}

// outcome is how a subscription comes out.
type outcome struct {
	topic string
	refusal
	asked     bool // the client said where it left off
	recovered bool // all that it missed follows
	// position is where the client stands before anything follows. With missed events on their way that is where it
	// left off, so that it can come back with it if the connection breaks before they arrive.
	position pubsub.Position
}

// asker is the owner of a subscription that a hub.v1 client asked for.
type asker struct {
	s  *Session
	id json.RawMessage
}

func (a asker) patient() bool { return false }
func (a asker) gathers() bool { return false }

func (a asker) settle(_ *subscribing, o outcome) bool {
	if !o.none() {
		a.s.error(a.id, o.code, o.text)
		return false
	}
	return a.s.send(appendSubscribed(nil, a.id, o))
}

// unasked is the owner of subscriptions that nobody waits for: to a user's own topic, and to those of a plain client's
// URL. They are tried for until they are there.
type unasked struct{ s *Session }

func (u unasked) patient() bool { return true }
func (u unasked) gathers() bool { return false }

func (u unasked) settle(sub *subscribing, o outcome) bool {
	s := u.s
	switch {
	case !o.none():
		s.missOwn(o.topic) // the node may have room for it later
	case s.format == enveloped:
		s.send(appendSubscribed(nil, nil, o))
	case o.asked && !o.recovered: // a verbatim client is told, too: it asked
		s.conn.Write((&message{topic: o.topic, position: o.position}).frame(enveloped))
	}
	if sub != nil && o.none() {
		sub.start()
	}
	s.publishEarly()
	return false
}

// appendSubscribed appends the answer that a topic is followed.
func appendSubscribed(dst []byte, id json.RawMessage, o outcome) []byte {
	dst = append(dst, `{"type":"subscribed"`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, o.topic)
	dst = o.appendPosition(dst)
	if o.asked {
		dst = strconv.AppendBool(append(dst, `,"recovered":`...), o.recovered)
	}
	return append(dst, '}')
}
