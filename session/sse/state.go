package sse

import (
	"slices"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
)

// state is what a session has until its topics are followed, and for its life if it follows several. One that follows a
// single topic needs none then: that its frames have ids is enough.
type state struct {
	*places
	single bool // its ids are the positions of one topic
	// Of a single one, topics that a backend has added. They have no ids.
	extra []string
}

func stateOf(s *session.Session) *state {
	st, _ := s.State().(*state)
	return st
}

// use takes from want what the session's topics decide about.
func (st *state) use(s *session.Session, want *asked) {
	st.single = len(st.topics) == 1
	switch {
	case !st.single:
		s.UseFormat(envelopedStamped)
	case want.envelope:
		s.UseFormat(enveloped)
	}
	if want.last == "" {
		return
	}
	ok := false
	if !st.single {
		ok = st.parse(want.last)
	} else if at, err := pubsub.ParsePosition(want.last); err == nil {
		st.at[0], ok = place{Position: at, known: true}, true
	}
	for i := range st.at {
		if !ok {
			st.at[i] = place{lost: true}
		}
	}
}

// stamp ends a frame with the id, where that changes.
func stamp(s *session.Session, dst []byte, topic string, at pubsub.Position) []byte {
	st := stateOf(s)
	if st == nil || at.IsZero() {
		return append(dst, '\n')
	}
	if st.single {
		if !slices.Contains(st.extra, topic) {
			dst = idLine(dst, at)
		}
		return append(dst, '\n')
	}
	if i := st.index(topic); i >= 0 {
		st.at[i] = place{Position: at, known: true}
		dst = append(st.appendID(append(dst, "id: "...)), '\n')
	}
	return append(dst, '\n')
}

// stampSize is the most bytes of a stamp.
func stampSize(s *session.Session) int {
	const around, position = len("id: \n\n"), len("0123456789abcdef:-") + 2*20
	switch st := stateOf(s); {
	case st == nil:
		return 1
	case st.single:
		return around + position
	default:
		return around + st.idSize()
	}
}

// Unasked implements session.Protocol: the client is told of each topic that it follows.
func (Protocol) Unasked(s *session.Session, o session.Outcome) {
	switch {
	case o.Later:
	case !o.None():
		writeError(s, o.Topic, o.Refusal)
	default:
		s.Write(followed(s, o))
	}
}

// followed notes that a topic is followed, and makes the message of it.
func followed(s *session.Session, o session.Outcome) []byte {
	st := stateOf(s)
	if st == nil {
		st = &state{places: &places{}, single: true}
	}
	i := st.index(o.Topic)
	if i < 0 { // a backend has added it
		st.add(s, o.Topic)
		return appendHub(nil, "", hubv1.AppendSubscribed(nil, o))
	}
	if st.at[i].lost {
		o.Asked, o.Recovered = true, false
	}
	st.topics[i], st.at[i] = s.Shared(o.Topic), place{Position: o.Position, known: true}
	id := o.Position.String()
	if !st.single {
		id = string(st.appendID(nil))
	}
	if !slices.ContainsFunc(st.at, func(p place) bool { return !p.known }) {
		st.opened(s)
	}
	return appendHub(nil, id, hubv1.AppendSubscribed(nil, o))
}

// add notes that the session follows a topic that a backend has added. Its events do not change the id: the client does
// not come back to it by itself.
func (st *state) add(s *session.Session, topic string) {
	if !st.single || slices.Contains(st.extra, topic) {
		return
	}
	st.extra = append(st.extra, s.Shared(topic))
	s.UseFormat(stamped(s.Format()))
	s.SetState(st)
}

// opened drops what is not needed once all topics are followed.
func (st *state) opened(s *session.Session) {
	if !st.single {
		return
	}
	st.places = &places{}
	if len(st.extra) == 0 {
		s.SetState(nil)
	}
}

// stamped is the stamped form of a format.
func stamped(f *session.Format) *session.Format {
	if f == enveloped || f == envelopedStamped {
		return envelopedStamped
	}
	return verbatimStamped
}
