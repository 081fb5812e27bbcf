package session

import (
	"fmt"
	"net/url"
	"time"

	"wshub/engine"
	"wshub/pubsub"
)

// Protocol is one language that clients speak with the hub: it reads what they send, and has the words for what the hub
// tells them. It is a package of its own, which calls the methods of Session and Hub; the hub knows it by this interface
// alone. One value serves all sessions on all loops. Its own state of a session is the session's State. All calls that
// name a session come on the session's loop.
type Protocol interface {
	// Name is what metrics call it. It is short and stable.
	Name() string
	// Subprotocols are the names by which a client asks for it in Sec-WebSocket-Protocol; "" stands for a client that
	// offers none, engine.EventStream for one that asks for a stream, and
	// engine.JSONStream for one whose POST is to be answered by a stream. It is asked at each handshake, and its result is
	// never changed.
	Subprotocols() []string
	// Judge reads what a handshake asks for into a, or refuses it.
	Judge(a *Admission, r *engine.Request, query url.Values) *engine.Refusal
	// First is what leaves together with the answer to the handshake, frames or nil.
	First(s *Session) []byte
	// Opened begins the session's life.
	Opened(s *Session, a *Admission)
	// Message takes what the client sent. payload is valid only until it returns.
	Message(s *Session, op engine.Opcode, payload []byte)
	// Denied answers a message over the rate. It is not read any further.
	Denied(s *Session, op engine.Opcode, payload []byte)
	// Unasked reports the outcome of a subscription that no request named.
	Unasked(s *Session, o Outcome)
	// Left reports that the session does not follow topic any more. Its client was told before that it follows it.
	Left(s *Session, topic string, why Refusal)
	// Unwatched reports that the session does not watch topic's presence any more, which it still follows.
	Unwatched(s *Session, topic string, why Refusal)
	// Gap reports a loss to a session whose Format ends there: it has left the topic.
	Gap(s *Session, topic string, at pubsub.Position)
	// Expired reports that the session's token has expired, and how long the client has to send another one. 0: it can't.
	Expired(s *Session) (grace time.Duration)
	// Renewed reports that a backend has changed the expiry of the session's token: see Session.Expires.
	Renewed(s *Session)
	// Goodbye tells the client that the connection is about to end, for which cause, and when to come back. The Close frame
	// follows.
	Goodbye(s *Session, cause *engine.Cause, after time.Duration)
	// Closed is the last call.
	Closed(s *Session)
	// CloseFrame is that of engine.Peer.
	CloseFrame(cause *engine.Cause) (code uint16, reason string)
	// Ping is that of engine.Peer.
	Ping(s *Session) []byte
}

// Farewell implements engine.Farewell: the last words of a protocol of streams, if it has any.
func (s *Session) Farewell(cause *engine.Cause) []byte {
	if p, ok := s.protocol().(engine.Farewell); ok {
		return p.Farewell(cause)
	}
	return nil
}

// maxProtocols bounds the protocols of one hub.
const maxProtocols = 128

// Serve has clients at a path of the public port speak one of the protocols. A path that ends in / stands for those with one
// segment more that have no protocols of their own. Call it before Attach.
func (h *Hub) Serve(path string, protocols ...Protocol) error {
	at := h.paths[path]
	for _, p := range protocols {
		if len(h.protocols) == maxProtocols {
			return fmt.Errorf("more than %d protocols", maxProtocols)
		}
		at = append(at, uint8(len(h.protocols)))
		h.protocols = append(h.protocols, p)
		h.addWall(p)
	}
	h.paths[path] = at
	return nil
}

// protocol is what the session's client speaks.
func (s *Session) protocol() Protocol { return s.shard.hub.protocols[s.speaks] }

// CloseFrame implements engine.Peer.
func (s *Session) CloseFrame(cause *engine.Cause) (code uint16, reason string) {
	return s.protocol().CloseFrame(cause)
}

// Ping implements engine.Peer.
func (s *Session) Ping() []byte { return s.protocol().Ping(s) }

// State is what the protocol keeps of the session, nil until SetState.
func (s *Session) State() any {
	if s.ext == nil {
		return nil
	}
	return s.ext.state
}

// SetState keeps state, a pointer, or with nil nothing.
func (s *Session) SetState(state any) {
	s.extra().state = state
	s.trim()
}

// Refusal is why something is not done: a code for programs and a text for people. The zero Refusal is none.
type Refusal struct {
	Code Code
	Text string
}

// None reports whether nothing was refused.
func (r Refusal) None() bool { return r.Code == "" }
