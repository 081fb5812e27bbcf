package sse

import (
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
)

// Protocol is server-sent events. Its zero value is ready.
type Protocol struct{}

const (
	// soon is the least time after which a client comes back whose connection breaks, and how much of it is at random
	// besides: those of a hub that was killed do not come back in one moment.
	soon = time.Second
	// someday is when the client of a session comes back that a backend has disconnected: it should not by itself, but the
	// end of a stream alone has it come back.
	someday = time.Hour
)

// Name implements session.Protocol.
func (Protocol) Name() string { return "sse" }

// Subprotocols implements session.Protocol.
func (Protocol) Subprotocols() []string { return streams }

var streams = []string{engine.EventStream} // one for all handshakes

// asked is what a request asks for besides topics.
type asked struct {
	since    []pubsub.Position // of each topic of the URL, in their order; nil without
	last     string            // Last-Event-ID, which goes before since
	envelope bool
}

// Judge implements session.Protocol. There is one since for each topic, in the same order. A Last-Event-ID that is not
// understood is no reason to refuse: the client would give up for ever, and it did not make it.
func (Protocol) Judge(a *session.Admission, r *engine.Request, query url.Values) *engine.Refusal {
	want := &asked{last: r.Header.Get("Last-Event-Id")}
	a.Topics, a.Format, a.Data = query["topic"], verbatim, want
	a.Begins = max(len(a.Topics), 1)
	if len(a.Topics) >= maxPlaces { // and the own one
		return session.Refuse("at most %d topics: an event's id carries the positions of all", maxPlaces-1)
	}
	switch query.Get("positions") {
	case "", "0":
	case "1":
		want.envelope = true
	default:
		return session.Refuse("positions: want 1 or 0")
	}
	since := query["since"]
	if len(since) > 0 && len(since) != a.Begins {
		return session.Refuse("want one since for each topic, in the same order")
	}
	for _, text := range since {
		p, err := pubsub.ParsePosition(text)
		if err != nil {
			return session.Refuse("since: want positions as the hub gave them, or 0")
		}
		want.since = append(want.since, p)
	}
	return nil
}

// First implements session.Protocol.
func (Protocol) First(*session.Session) []byte { return closed(appendRetry(nil, soon+rand.N(2*soon))) }

// appendRetry appends when the client comes back after the next break.
func appendRetry(dst []byte, after time.Duration) []byte {
	return append(strconv.AppendInt(append(dst, "retry: "...), after.Milliseconds(), 10), '\n')
}

// Message implements session.Protocol. A stream has none.
func (Protocol) Message(*session.Session, engine.Opcode, []byte) {}

// Denied implements session.Protocol.
func (Protocol) Denied(*session.Session, engine.Opcode, []byte) {}

// Left implements session.Protocol.
func (Protocol) Left(s *session.Session, topic string, why session.Refusal) {
	writeError(s, topic, session.Refusal{Code: why.Code, Text: "the topic " + topic + " is not followed any more: " + why.Text})
}

func writeError(s *session.Session, topic string, why session.Refusal) {
	s.CountError(why.Code)
	s.Write(appendHub(nil, "", hubv1.AppendTopicError(nil, topic, why)))
}

// Unwatched implements session.Protocol. A stream's client watches nothing.
func (Protocol) Unwatched(*session.Session, string, session.Refusal) {}

// Gap implements session.Protocol. No format of ours ends at gaps.
func (Protocol) Gap(*session.Session, string, pubsub.Position) {}

// Expired implements session.Protocol: the client can't send another token on its stream.
func (Protocol) Expired(*session.Session) (grace time.Duration) { return 0 }

// Renewed implements session.Protocol. It has no words for it.
func (Protocol) Renewed(*session.Session) {}

// Goodbye implements session.Protocol.
func (Protocol) Goodbye(s *session.Session, cause *engine.Cause, after time.Duration) {
	s.Write(goodbye(cause, after))
}

func goodbye(cause *engine.Cause, after time.Duration) []byte {
	b := append([]byte(`{"type":"goodbye","code":`), strconv.Itoa(int(cause.Code))...)
	b = strconv.AppendInt(append(b, `,"after_ms":`...), after.Milliseconds(), 10)
	b = hubv1.AppendString(append(b, `,"reason":`...), cause.Name)
	return appendHub(appendRetry(nil, after), "", append(b, '}'))
}

// Farewell implements engine.Farewell. Of some causes Goodbye has told before.
func (Protocol) Farewell(cause *engine.Cause) []byte {
	switch cause {
	case session.Drained, session.Rebalanced:
		return nil
	case session.Disconnected:
		return goodbye(cause, someday)
	}
	return goodbye(cause, soon+rand.N(2*soon))
}

// Closed implements session.Protocol.
func (Protocol) Closed(*session.Session) {}

// CloseFrame implements session.Protocol. A stream has no Close frames.
func (Protocol) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	return cause.Code, cause.Reason
}

// Ping implements session.Protocol: a comment.
func (Protocol) Ping(*session.Session) []byte { return comment }

var comment = []byte(":\n\n")

// Opened implements session.Protocol: it subscribes the session to its topics.
func (Protocol) Opened(s *session.Session, a *session.Admission) {
	want, _ := a.Data.(*asked)
	var topics []string
	for _, name := range a.Topics {
		topics = append(topics, strings.Clone(name))
	}
	if broadcast := s.Hub().Config().Broadcast; len(topics) == 0 && s.MaySubscribe(broadcast) {
		topics = append(topics, broadcast)
	}
	named := len(topics)
	if s.Own() != "" {
		topics = append(topics, s.Own())
	}
	if len(topics) == 0 {
		writeError(s, s.Hub().Config().Broadcast, session.Refusal{Code: session.Forbidden, Text: "the URL names no topic, and the broadcast topic is not for this session"})
		return
	}
	st := &state{places: newPlaces(topics)}
	for i, since := range want.since[:min(len(want.since), named)] {
		st.at[i] = place{Position: since, known: true}
	}
	st.use(s, want)
	s.SetState(st)
	for i, name := range topics {
		var since *pubsub.Position
		if at := st.at[i]; at.known {
			since = &at.Position
		}
		s.SubscribeUnasked(name, since)
	}
}
