package session

import "time"

// A user may have MaxSessionsPerUser sessions on a node. One more is let in for a moment if its Admission says MayReplace:
// it may resume a session whose connection has gone silent, and then takes its place. As many again as the user may have
// are let in so; all others are closed by 4030, a code that a browser shows to its page.

// replaceTime is how long the older connection of a resumed session may take to end.
const replaceTime = time.Second

// surplus reports whether the session is one more than its user may have.
func (s *Session) surplus() bool {
	if s.ext == nil || !s.ext.surplus {
		return false
	}
	s.ext.surplus = s.shard.hub.users.crowded(s.user()) // else others have left
	return s.ext.surplus
}

// Justified reports whether a session that may be one too many may stay for what its client asks: to resume another one, or
// anything else. If not, it is closed.
func (s *Session) Justified(resumes bool) bool {
	switch {
	case !s.surplus(), s.generation != 0: // the one that it resumed has replaceTime to end
		return true
	case resumes:
		s.shard.loop.After(replaceTime, s.endSurplus)
		return true
	}
	s.conn.Close(TooManySessions)
	return false
}

// endSurplus closes the session if it is one too many.
func (s *Session) endSurplus() {
	if s.conn.Peer() != nil && s.surplus() {
		s.conn.Close(TooManySessions)
	}
}
