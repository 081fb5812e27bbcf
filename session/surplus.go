package session

import "time"

// A user may have MaxSessionsPerUser sessions on a node. One more is let in for a moment if it speaks hub.v1: it may
// resume a session whose connection has gone silent, and then takes its place. As many again as the user may have
// are let in so; all others are closed by 4030, a code that a browser shows to its page.

// replaceTime is how long the older connection of a resumed session may take to end.
const replaceTime = time.Second

// justified tells whether a session that is one too many may stay for what its client asks first; "" is nothing.
// If not, it is closed.
func (s *Session) justified(kind string) bool {
	if s.ext == nil || !s.ext.surplus {
		return true
	}
	switch {
	case !s.shard.hub.users.crowded(s.user()): // others have left
		s.ext.surplus = false
		return true
	case kind == "resume" && !s.resumed:
		s.shard.loop.After(replaceTime, func() {
			if s.conn.Peer() != nil {
				s.justified("")
			}
		})
		return true
	}
	s.conn.Close(TooManySessions)
	return false
}
