package centrifugo

import (
	"math"
	"time"

	pb "github.com/centrifugal/protocol"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
)

// Opened implements session.Protocol: it follows what the client follows without asking, and answers connect.
func (p Protocol) Opened(s *session.Session, a *session.Admission) {
	l := a.Data.(*lobby)
	st := &state{free: uint16(s.Hub().Config().MaxTopics), more: &more{info: pb.Raw(a.Claims.Info), early: l.early}}
	s.SetState(st)
	var wanted []session.Wanted
	want := func(channel string) {
		wanted = append(wanted, session.Wanted{Topic: channel, Since: l.left[channel]})
	}
	if s.Own() != "" {
		want(s.Own())
	}
	for _, channel := range a.Claims.Channels {
		if channel != s.Own() {
			want(channel)
		}
	}
	id := l.id
	s.SubscribeAll(wanted, func(outcomes []session.Outcome) { p.connected(s, id, outcomes) })
}

// connected answers connect, and goes on with what came behind it.
func (p Protocol) connected(s *session.Session, id uint32, outcomes []session.Outcome) {
	st := stateOf(s)
	result := &pb.ConnectResult{
		Client: s.Name(), Version: p.version, Node: s.Hub().Config().Node, Pong: true,
		Ping: max(uint32(s.Hub().Heartbeat()/time.Second), 1),
		Subs: make(map[string]*pb.SubscribeResult),
	}
	result.Expires, result.Ttl = ttl(s.Expires())
	if encodingOf(s).stream {
		result.Pong, result.Session = false, s.Secret()
		if result.Session == "" { // nothing could be sent
			s.Close(invalidated)
			return
		}
	}
	var missed []string
	for _, o := range outcomes {
		switch {
		case o.None():
			if o.Topic != s.Own() {
				st.serve(o.Topic)
			}
			result.Subs[o.Topic] = subscribed(s, o, time.Time{})
		case o.Asked && o.Code.Retry():
			// A channel that is missing in the answer counts as left, and its position as forgotten.
			s.Close(invalidated)
			return
		case o.Code == session.ExpiredToken: // the client gets another one
			s.Close(session.TokenExpired)
			return
		case o.Code.Retry() || o.Topic == s.Own():
			missed = append(missed, o.Topic)
		}
	}
	write(s, &pb.Reply{Id: id, Connect: result})
	st.connected = true
	waiting := st.more.early.frames
	s.Owe(-st.more.early.bytes)
	st.more.early = early{}
	st.trim()
	for _, channel := range missed {
		s.SubscribeUnasked(channel, nil)
	}
	for _, frame := range waiting {
		if !s.Open() {
			return
		}
		p.commands(s, frame.commands, frame.charge == granted || frame.charge == uncharged && s.Charge(1))
	}
}

// ttl is how long something is valid that ends at a time, in whole seconds, at least one; zero time: for ever.
func ttl(end time.Time) (expires bool, seconds uint32) {
	if end.IsZero() {
		return false, 0
	}
	return true, uint32(min(max(math.Ceil(time.Until(end).Seconds()), 1), math.MaxInt32))
}

// since is the position that a client left off at.
func since(epoch string, at uint64) *pubsub.Position {
	p, err := offset.Position(epoch, at)
	if err != nil {
		p = offset.Nowhere
	}
	return &p
}

// place is where an answer says that the client stands. Where that is not known though the channel has a history, nothing
// can be recovered from it.
func place(s *session.Session, o session.Outcome) (epoch string, at uint64) {
	if o.Head.IsZero() && s.Hub().Keeps(o.Topic) {
		return offset.Invalid, 0
	}
	if o.Position.IsZero() { // before the first event
		epoch, _ = offset.Of(o.Head)
		return epoch, 0
	}
	return offset.Of(o.Position)
}

// subscribed is the answer that a channel is followed, until a time or, with zero, for as long as the connection.
func subscribed(s *session.Session, o session.Outcome, until time.Time) *pb.SubscribeResult {
	keeps := s.Hub().Keeps(o.Topic)
	r := &pb.SubscribeResult{Recoverable: keeps, Positioned: keeps, WasRecovering: o.Asked, Recovered: o.Recovered}
	r.Epoch, r.Offset = place(s, o)
	r.Expires, r.Ttl = ttl(until)
	return r
}
