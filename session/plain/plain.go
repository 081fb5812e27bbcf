package plain

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/hubv1"
)

// Subprotocol is the name by which clients may ask for plain mode; without any they are in it, too.
const Subprotocol = "hub.v1.plain"

// Verbatim is the format of events in plain mode: the data alone, one text frame. It has no words for a gap.
var Verbatim = session.NewFormat(session.Words{
	Event: func(ev *pubsub.Event) []byte { return hubv1.TextFrame(ev.Data) },
})

// Protocol is plain mode. Its zero value is for clients that ask for no subprotocol.
type Protocol struct {
	// Named: for clients that ask for plain mode by its name. They know what they do, so that all they send is published;
	// others are told where it looks like a request of hub.v1.
	Named bool
}

// Name implements session.Protocol.
func (Protocol) Name() string { return "plain" }

// Subprotocols implements session.Protocol.
func (p Protocol) Subprotocols() []string {
	if p.Named {
		return named
	}
	return unnamed
}

var named, unnamed = []string{Subprotocol}, []string{""} // one for all handshakes

// Judge implements session.Protocol. There is one since for each topic, in the same order.
func (Protocol) Judge(a *session.Admission, _ *engine.Request, query url.Values) *engine.Refusal {
	a.Topics = query["topic"]
	a.Begins = max(len(a.Topics), 1)
	a.Format = Verbatim
	switch query.Get("positions") {
	case "", "0":
	case "1":
		a.Format = hubv1.Enveloped
	default:
		return session.Refuse("positions: want 1 or 0")
	}
	since, positions := query["since"], []pubsub.Position(nil)
	if len(since) > 0 && len(since) != max(len(a.Topics), 1) {
		return session.Refuse("want one since for each topic, in the same order")
	}
	for _, text := range since {
		p, err := pubsub.ParsePosition(text)
		if err != nil {
			return session.Refuse("since: want positions as the hub gave them, or 0")
		}
		positions = append(positions, p)
	}
	if positions != nil {
		a.Data = positions
	}
	return nil
}

// First implements session.Protocol.
func (Protocol) First(*session.Session) []byte { return nil }

// Opened implements session.Protocol: it subscribes the session to its topics.
func (Protocol) Opened(s *session.Session, a *session.Admission) {
	positions, _ := a.Data.([]pubsub.Position)
	broadcast := s.Hub().Config().Broadcast
	topics := a.Topics
	var st *state
	if len(topics) > 0 {
		st = &state{target: strings.Clone(topics[0])}
		s.SetState(st)
	} else if s.MaySubscribe(broadcast) {
		topics = []string{broadcast}
	}
	for i, name := range topics {
		var since *pubsub.Position
		if len(positions) > 0 {
			since = &positions[i]
		}
		s.SubscribeUnasked(strings.Clone(name), since)
	}
	if st != nil {
		st.target = s.Shared(st.target)
	}
	if s.Own() != "" {
		s.SubscribeUnasked(s.Own(), nil)
	}
}

// Message implements session.Protocol.
func (p Protocol) Message(s *session.Session, op engine.Opcode, payload []byte) {
	switch {
	case op != engine.OpText:
		s.Close(session.BinaryFrame)
	case !json.Valid(payload):
		refuse(s, session.Refusal{Code: session.BadJSON, Text: "the message is not JSON"})
	case !p.Named && hubv1.IsRequest(payload):
		refuse(s, session.Refusal{Code: session.BadRequest, Text: "this is a request of hub.v1, but the connection speaks plain, so nothing was done: connect with the subprotocol " +
			hubv1.Subprotocol + ", as in new WebSocket(url, ['" + hubv1.Subprotocol + "']); with " + Subprotocol + " such messages are published"})
	default:
		publish(s, payload)
	}
}

func refuse(s *session.Session, r session.Refusal) { hubv1.WriteError(s, nil, r) }

// Denied implements session.Protocol.
func (Protocol) Denied(s *session.Session, op engine.Opcode, _ []byte) {
	if op != engine.OpText {
		s.Close(session.BinaryFrame)
		return
	}
	refuse(s, session.Refusal{Code: session.RateLimited, Text: "too many messages; this one was dropped"})
}

// Unasked implements session.Protocol.
func (Protocol) Unasked(s *session.Session, o session.Outcome) {
	switch {
	case !o.None():
	case s.Format() == hubv1.Enveloped:
		hubv1.WriteSubscribed(s, nil, o)
	case o.Asked && !o.Recovered: // a verbatim client is told, too: it asked
		s.Write(hubv1.GapFrame(o.Topic, o.Position))
	}
	publishEarly(s) // where the broker does not answer, it fails and is told so
}

// Left implements session.Protocol.
func (Protocol) Left(s *session.Session, topic string, why session.Refusal) {
	refuse(s, session.Refusal{Code: why.Code, Text: "the topic " + topic + " is not followed any more: " + why.Text})
}

// Unwatched implements session.Protocol. A plain client watches nothing.
func (Protocol) Unwatched(*session.Session, string, session.Refusal) {}

// Gap implements session.Protocol. No format of plain clients ends at gaps.
func (Protocol) Gap(*session.Session, string, pubsub.Position) {}

// Expired implements session.Protocol: a plain client can't send another token.
func (Protocol) Expired(*session.Session) (grace time.Duration) { return 0 }

// Renewed implements session.Protocol. It has no words for it.
func (Protocol) Renewed(*session.Session) {}

// Goodbye implements session.Protocol. A plain client sees the close code alone.
func (Protocol) Goodbye(*session.Session, *engine.Cause, time.Duration) {}

// Closed implements session.Protocol. The client may be gone, but has sent it.
func (Protocol) Closed(s *session.Session) { publishAllEarly(s) }

// CloseFrame implements session.Protocol: the causes' codes are those of hub.v1.
func (Protocol) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	return cause.Code, cause.Reason
}

// Ping implements session.Protocol.
func (Protocol) Ping(*session.Session) []byte { return engine.PingFrame }
