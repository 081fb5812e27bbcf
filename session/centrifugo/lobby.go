package centrifugo

import (
	"strings"
	"time"

	pb "github.com/centrifugal/protocol"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
)

// connectTime is how long a client may take to send connect, and to close the connection where that is refused.
var connectTime = 10 * time.Second

// lobby is a connection's Peer until the client is let in by its connect command. It is the client's session.Entrance.
type lobby struct {
	protocol Protocol
	encoding *encoding
	ask      *session.Admission
	conn     *engine.Conn
	timer    *engine.Timer               // runs while the client has something to do
	id       uint32                      // of connect, 0 before it came
	left     map[string]*pubsub.Position // where the client left off, by server-side channel
	early    early                       // what came behind connect
	refused  bool                        // connect was answered by an error: nothing more is done
}

func newLobby(p Protocol, e *encoding, a *session.Admission, c *engine.Conn) *lobby {
	l := &lobby{protocol: p, encoding: e, ask: a, conn: c}
	l.start()
	return l
}

func (l *lobby) start() {
	l.timer = l.conn.Loop().After(connectTime, func() {
		if l.conn.Peer() == engine.Peer(l) {
			l.conn.Close(stale)
		}
	})
}

// Message implements engine.Peer.
func (l *lobby) Message(op engine.Opcode, payload []byte) {
	switch {
	case l.refused:
	case op != l.encoding.op:
		l.conn.Close(session.BinaryFrame)
	case l.id == 0:
		l.connect(payload)
	case !l.early.add(payload, uncharged, l.protocol.hub.Config().MaxHold):
		l.conn.Close(badRequest)
	default:
		l.conn.Owe(len(payload))
	}
}

func (l *lobby) connect(frame []byte) {
	cmd, rest, err := l.encoding.next(frame)
	if err != nil || cmd.Id == 0 || cmd.Connect == nil {
		l.conn.Close(badRequest)
		return
	}
	// Many may wait for a key at once: of their connects they keep no more than is needed.
	hub := l.protocol.hub
	for channel, r := range cmd.Connect.Subs {
		if r == nil || !r.Recover {
			continue
		}
		if len(l.left) > hub.Config().MaxTopics { // one more than claims can name: the user's own
			l.conn.Close(badRequest)
			return
		}
		if l.left == nil {
			l.left = make(map[string]*pubsub.Position)
		}
		l.left[strings.Clone(channel)] = since(r.Epoch, r.Offset)
	}
	l.id = cmd.Id
	l.stop() // the hub's turn: the client keeps its place in the lobby meanwhile
	l.early.add(rest, uncharged, len(rest))
	l.conn.Owe(l.early.bytes)
	l.ask.Data = l
	hub.Enter(l, l.ask, strings.Clone(cmd.Connect.Token))
}

// Conn implements session.Entrance.
func (l *lobby) Conn() *engine.Conn { return l.conn }

// Accept implements session.Entrance.
func (l *lobby) Accept(_ string, peer engine.Peer, _ []byte) bool {
	l.leave()
	return l.conn.Peer() == engine.Peer(l) && l.conn.Become(peer)
}

// Refuse implements session.Entrance: what the answer to a handshake would say, the answer to connect says. The client
// closes the connection.
func (l *lobby) Refuse(r *engine.Refusal) {
	switch {
	case r.Status >= 500:
		l.fail(errInternal)
	case r.Status == 403:
		l.fail(errDenied)
	default:
		l.fail(errBadRequest)
	}
}

// Dismiss implements session.Entrance. A client whose token has expired gets a new one by itself.
func (l *lobby) Dismiss(cause *engine.Cause) {
	if cause == session.TokenExpired {
		l.fail(errTokenExpired)
		return
	}
	if l.conn.Peer() == engine.Peer(l) {
		l.conn.Close(cause)
	}
}

func (l *lobby) fail(err *pb.Error) {
	l.refused = true
	l.conn.Owe(-l.early.bytes)
	l.early = early{}
	if l.conn.Write(l.encoding.frame(&pb.Reply{Id: l.id, Error: err})) {
		l.start()
	}
}

// leave is for who is let in or has ended. A client that was refused stays until it closes the connection, or is made
// to, and takes a place of the lobby as long.
func (l *lobby) leave() {
	l.ask.LeaveLobby()
	l.stop()
}

func (l *lobby) stop() {
	l.conn.Loop().Stop(l.timer)
	l.timer = nil
}

// Overhead implements engine.Peer: before connect nobody has to send many control frames.
func (l *lobby) Overhead(frames int) { l.conn.Close(badRequest) }

// CloseFrame implements engine.Peer.
func (l *lobby) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	return l.protocol.CloseFrame(cause)
}

// Ping implements engine.Peer.
func (l *lobby) Ping() []byte { return l.encoding.early }

// Closed implements engine.Peer.
func (l *lobby) Closed(cause *engine.Cause) {
	l.protocol.hub.NoteCut(l.conn, cause)
	l.leave()
}
