package session

import "wshub/engine"

// A frame is compressed for those who agreed on it as any other form of an event: once, by the loop that needs it first, and
// shared. That loop does it, and not whoever published: it alone knows that somebody wants it, loops compress side by side,
// and engine.Loop.Deflate bounds the time. The frames of answers and greetings, which one client gets, go as they are.

// deflateMark is set in the format of sessions with these terms.
func deflateMark(terms engine.Deflate) uint8 {
	switch terms {
	case engine.Deflated:
		return deflated
	case engine.DeflatedNarrow:
		return narrow
	}
	return 0
}

// compressed makes the frame in a compressed format; where that is not worth while, or must not be, it is the plain one.
// The caller holds mu.
func (m *message) compressed(f uint8, sh *shard) []byte {
	id := f &^ (deflated | narrow)
	plain, ok := m.made(id)
	if !ok {
		plain = m.keep(id, m.make(formats[id&^marks]))
	}
	cfg := &sh.hub.cfg
	if len(plain) < cfg.DeflateFrom || cfg.Exposed != nil && cfg.Exposed(m.topic) {
		return plain
	}
	terms := engine.Deflated
	if f&narrow != 0 {
		terms = engine.DeflatedNarrow
	}
	frame := sh.loop.Deflate(plain, terms)
	if frame == nil {
		frame = plain // for other loops, too: they would come to the same
	}
	return m.keep(f, frame)
}
