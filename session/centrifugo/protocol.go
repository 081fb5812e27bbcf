package centrifugo

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"time"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// Path is where SDKs look for the protocol by default.
const Path = "/connection/websocket"

// grace is how long a client may take to send another connection token when its own has expired: the SDKs ask for one
// when it does, and not before.
const grace = 25 * time.Second

const (
	subprotocolJSON     = "centrifuge-json"
	subprotocolProtobuf = "centrifuge-protobuf"
)

// Protocol is Centrifugo's client protocol.
type Protocol struct {
	hub     *session.Hub
	version string
}

// Serve has hub speak the protocol: over WebSocket at path, and over streams. version is told to clients.
func Serve(hub *session.Hub, path, version string) error {
	p := Protocol{hub, version}
	return errors.Join(
		hub.Serve(path, p),
		hub.Serve(SSEPath, stream{p, "centrifugo-sse", eventStream, inEvents}),
		hub.Serve(HTTPStreamPath, stream{p, "centrifugo-http-stream", jsonStream, inLines}),
		hub.Serve(EmulationPath, emulation{p}),
	)
}

// HTTPPaths are those of Serve at which plain HTTP is spoken, and no WebSocket.
func HTTPPaths() []string { return []string{SSEPath, HTTPStreamPath, EmulationPath} }

// Name implements session.Protocol.
func (Protocol) Name() string { return "centrifugo" }

// Subprotocols implements session.Protocol.
func (Protocol) Subprotocols() []string { return subprotocols }

var subprotocols = []string{"", subprotocolJSON, subprotocolProtobuf} // one for all handshakes

// Judge implements session.Protocol.
func (p Protocol) Judge(a *session.Admission, _ *engine.Request, query url.Values) *engine.Refusal {
	e := inJSON
	if a.Subprotocol == subprotocolProtobuf || a.Subprotocol == "" &&
		(query.Get("format") == "protobuf" || query.Get("cf_protocol") == "protobuf") {
		e = inProtobuf
	}
	a.Format, a.Named = e.format, true
	a.Lobby = func(c *engine.Conn) engine.Peer { return newLobby(p, e, a, c) }
	return nil
}

// First implements session.Protocol.
func (Protocol) First(*session.Session) []byte { return nil }

// state is what the protocol keeps of a session.
type state struct {
	pings     uint8  // were sent, and their pongs have not come; of more than 255, so many
	connected bool   // connect was answered
	free      uint16 // subscribe commands that are not charged
	more      *more
}

// more is what most sessions have only for a moment.
type more struct {
	info     pb.Raw              // shown of the client with what it publishes
	channels map[string]struct{} // server-side subscriptions, but for the user's own topic
	early    early               // what came before connect was answered
	attempts []*attempt          // to subscribe, that wait
}

// extra returns st.more, made if there is none.
func (st *state) extra() *more {
	if st.more == nil {
		st.more = &more{}
	}
	return st.more
}

// trim lets go of st.more once there is nothing in it.
func (st *state) trim() {
	if m := st.more; m != nil && m.info == nil && len(m.channels)+len(m.early.frames)+len(m.attempts) == 0 {
		st.more = nil
	}
}

func stateOf(s *session.Session) *state { return s.State().(*state) }

// serverSide reports whether the client follows channel without having asked for it.
func serverSide(s *session.Session, channel string) bool {
	if channel == s.Own() {
		return true
	}
	m := stateOf(s).more
	if m == nil {
		return false
	}
	_, ok := m.channels[channel]
	return ok
}

// Ping implements session.Protocol: an empty reply. The connect result asks for a pong.
func (Protocol) Ping(s *session.Session) []byte {
	st := stateOf(s)
	if !st.connected {
		return engine.PingFrame
	}
	if st.pings < math.MaxUint8 {
		st.pings++
	}
	return encodingOf(s).ping
}

// Message implements session.Protocol: it does what the commands of one frame ask for, in their order.
func (p Protocol) Message(s *session.Session, op engine.Opcode, payload []byte) {
	st := stateOf(s)
	if op != encodingOf(s).op {
		s.Close(session.BinaryFrame)
		return
	}
	if !st.connected {
		st.wait(s, payload, granted)
		return
	}
	p.commands(s, payload, true)
}

// wait keeps a frame that came before connect was answered.
func (st *state) wait(s *session.Session, frame []byte, c charge) {
	if !st.more.early.add(frame, c, s.Hub().Config().MaxHold) {
		s.Drop("early_full", "too much was sent before connect was answered")
		s.Close(badRequest)
		return
	}
	s.Owe(len(frame)) // it may end the session
}

// Denied implements session.Protocol.
func (p Protocol) Denied(s *session.Session, op engine.Opcode, payload []byte) {
	if op != encodingOf(s).op {
		s.Close(session.BinaryFrame)
		return
	}
	if st := stateOf(s); !st.connected { // nothing is answered before connect
		st.wait(s, payload, denied)
		return
	}
	p.commands(s, payload, false)
}

// commands does the commands of a frame. Each but the first, which is charged already, is charged like a frame; those over
// the rate, or all where the first is, are answered by error 111. An unsubscribe is done all the same: SDKs connect again if
// it fails.
func (p Protocol) commands(s *session.Session, frame []byte, granted bool) {
	e := encodingOf(s)
	for first := true; s.Open(); first = false {
		cmd, rest, err := e.next(frame)
		if err != nil {
			s.Close(badRequest)
			return
		}
		switch free := stateOf(s).spendFree(cmd); {
		case free && first:
			granted = s.Charge(-1)
		case free:
			granted = true
		case !first:
			granted = s.Charge(1)
		}
		switch {
		case !s.Open():
			return
		case granted, cmd.Unsubscribe != nil && cmd.Subscribe == nil:
			p.do(s, cmd)
		case cmd.Id > 0:
			s.CountError(session.RateLimited)
			write(s, &pb.Reply{Id: cmd.Id, Error: errTooMany})
		}
		if frame = rest; len(frame) == 0 {
			return
		}
	}
}

// spendFree reports whether cmd costs nothing: the first subscribe commands do not, as many as a session may follow topics.
// A client that comes back sends them all at once, as one of hub.v1 sends its topics in one message.
func (st *state) spendFree(cmd *pb.Command) bool {
	if cmd.Subscribe == nil || st.free == 0 {
		return false
	}
	st.free--
	return true
}

// Unasked implements session.Protocol: a subscription of the server's, after connect, is told by a push.
func (Protocol) Unasked(s *session.Session, o session.Outcome) {
	if !o.None() {
		return
	}
	if st := stateOf(s); o.Topic != s.Own() {
		st.serve(o.Topic)
	}
	epoch, at := place(s, o)
	push(s, &pb.Push{Channel: o.Topic, Subscribe: &pb.Subscribe{
		Recoverable: s.Hub().Keeps(o.Topic), Positioned: s.Hub().Keeps(o.Topic), Epoch: epoch, Offset: at,
	}})
}

// serve notes a server-side subscription.
func (st *state) serve(channel string) {
	m := st.extra()
	if m.channels == nil {
		m.channels = make(map[string]struct{})
	}
	m.channels[channel] = struct{}{}
}

// unserve forgets that channel is one.
func (st *state) unserve(channel string) {
	if st.more != nil {
		delete(st.more.channels, channel)
		st.trim()
	}
}

// Left implements session.Protocol.
func (Protocol) Left(s *session.Session, topic string, why session.Refusal) {
	code := uint32(byServer)
	if why.Code == session.ExpiredToken {
		code = expired
	}
	unsubscribed(s, topic, code, why.Text)
}

func unsubscribed(s *session.Session, channel string, code uint32, reason string) {
	stateOf(s).unserve(channel)
	push(s, &pb.Push{Channel: channel, Unsubscribe: &pb.Unsubscribe{Code: code, Reason: reason}})
}

// Unwatched implements session.Protocol. The protocol has no words for it: no more joins and leaves are pushed.
func (Protocol) Unwatched(*session.Session, string, session.Refusal) {}

// Gap implements session.Protocol: the client subscribes again, and is told that it has not got all. For a server-side
// subscription it connects again.
func (Protocol) Gap(s *session.Session, topic string, _ pubsub.Position) {
	if serverSide(s, topic) {
		s.Close(lost)
		return
	}
	unsubscribed(s, topic, insufficientState, "insufficient state")
}

// Expired implements session.Protocol. The client knows by the ttl.
func (Protocol) Expired(*session.Session) time.Duration { return grace }

// Renewed implements session.Protocol: the client learns another ttl.
func (Protocol) Renewed(s *session.Session) {
	if !stateOf(s).connected {
		return // the connect result tells
	}
	r := &pb.Refresh{}
	r.Expires, r.Ttl = ttl(s.Expires())
	push(s, &pb.Push{Refresh: r})
}

// Goodbye implements session.Protocol. The close code says that the client should come back; the protocol has no words for
// when: the SDKs wait for half a second or so, and longer after each failure.
func (Protocol) Goodbye(*session.Session, *engine.Cause, time.Duration) {}

// Closed implements session.Protocol.
func (Protocol) Closed(*session.Session) {}

// early are frames that came before connect was answered.
type early struct {
	frames []earlyFrame
	bytes  int
}

type earlyFrame struct {
	commands []byte
	charge   charge
}

// charge is what the session's rate said to a frame.
type charge uint8

const (
	uncharged charge = iota // it came before there was a session
	granted
	denied
)

// maxEarly bounds the frames that wait so.
const maxEarly = 64

// add keeps a copy of frame, unless too much waits already.
func (e *early) add(frame []byte, c charge, limit int) bool {
	if len(frame) == 0 {
		return true
	}
	if len(e.frames) == maxEarly || e.bytes+len(frame) > limit {
		return false
	}
	e.frames = append(e.frames, earlyFrame{slices.Clone(frame), c})
	e.bytes += len(frame)
	return true
}
