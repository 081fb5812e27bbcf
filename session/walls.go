package session

import (
	"slices"
	"strings"

	"wshub/engine"
)

// Walled is a Protocol whose sessions have topics of their own: those whose names begin with its wall. They can name no other
// topic, may do everything with these, and no session of another protocol can name them. Backends can.
type Walled interface {
	Protocol
	// Wall is the beginning of the names, the same at each call and no beginning of another wall; "" for no wall.
	Wall() string
}

// Keeper is a Protocol without a wall that has some topics to itself all the same.
type Keeper interface {
	Protocol
	// Keeps are the beginnings of their names, the same at each call; nil for none. No session of another protocol can name these
	// topics, whatever its token says. Backends can.
	Keeps() []string
}

// Explainer is a Protocol whose clients can't read the status of a refused handshake.
type Explainer interface {
	Protocol
	// Explain is the cause to close the connection for instead, once the client is let in for as long as it takes to hear it; nil
	// to refuse the handshake by its status.
	Explain(r *engine.Refusal) *engine.Cause
}

// Full is how a client hears that the node has no place for it, where its protocol has words for that: see engine.Config.OnFull.
func (h *Hub) Full(r *engine.Request) (subprotocol string, frames []byte) {
	speaks, subprotocol, ok := h.choose(h.spoken(r.URL.Path), r.Subprotocols)
	if !ok {
		return "", nil
	}
	p, ok := h.protocols[speaks].(Explainer)
	if !ok {
		return "", nil
	}
	cause := p.Explain(later("the node is full"))
	if cause == nil {
		return "", nil
	}
	code, reason := p.CloseFrame(cause)
	return subprotocol, engine.AppendClose(slices.Clip(lastWords(p, cause)), code, reason)
}

// Speaker is a Protocol that has words for the end of a connection besides the Close frame: see engine.Speaker.
type Speaker interface {
	Protocol
	LastWords(cause *engine.Cause) []byte
}

// lastWords are those of p.
func lastWords(p Protocol, cause *engine.Cause) []byte {
	if speaker, ok := p.(Speaker); ok {
		return speaker.LastWords(cause)
	}
	return nil
}

// LastWords implements engine.Speaker.
func (s *Session) LastWords(cause *engine.Cause) []byte { return lastWords(s.protocol(), cause) }

// LastWords implements engine.Speaker.
func (s stranger) LastWords(cause *engine.Cause) []byte { return lastWords(s.Protocol, cause) }

// addWall notes p's wall, "" where it has none.
func (h *Hub) addWall(p Protocol) {
	wall := ""
	if w, ok := p.(Walled); ok {
		wall = w.Wall()
	}
	h.wallOf = append(h.wallOf, wall)
	if wall != "" {
		h.walls = append(h.walls, wall)
	}
	var kept []string
	if k, ok := p.(Keeper); ok {
		kept = k.Keeps()
	}
	h.kept = append(h.kept, kept...)
	h.keepers = append(h.keepers, len(kept) > 0)
}

// wall is that of the session's protocol, "" for none.
func (s *Session) wall() string { return s.shard.hub.wallOf[s.speaks] }

// outside reports whether the session can't name topic: see Walled and Keeper.
func (s *Session) outside(topic string) bool {
	return s.shard.hub.outside(s.wall(), s.shard.hub.keepers[s.speaks], topic)
}

// outside reports whether a session whose wall is so can't name topic. keeps says that its protocol is a Keeper.
func (h *Hub) outside(wall string, keeps bool, topic string) bool {
	if wall != "" {
		return !strings.HasPrefix(topic, wall)
	}
	begins := func(other string) bool { return strings.HasPrefix(topic, other) }
	return slices.ContainsFunc(h.walls, begins) || !keeps && slices.ContainsFunc(h.kept, begins)
}

// spoken are the protocols at a path of the public port: its own, or those of the folder that it lies in.
func (h *Hub) spoken(path string) []uint8 {
	if own, ok := h.paths[path]; ok {
		return own
	}
	return h.paths[path[:strings.LastIndexByte(path, '/')+1]]
}
