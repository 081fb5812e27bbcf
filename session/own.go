package session

import "time"

// A user's own topic is followed by every session of the user, without being asked for: at once, or, where the client may
// begin with a request that says where it left off there, behind its first frame.

const (
	// silenceTime is how long such a client may be silent before its own topic is followed.
	silenceTime = time.Second
	// returnTime is the same for one whose URL says that it comes back: it will resume, however slow it is.
	returnTime = 30 * time.Second
	// missedTime is the wait before the own topic is followed after a request for it came to nothing.
	missedTime = time.Second
	// roomTime is the same where the node has no room: all of a crowd may wait for it.
	roomTime = 3 * time.Second
)

// AwaitFirst has the own topic followed when the client has been silent for a while; FollowOwn does it before. returning
// says that the client comes back.
func (s *Session) AwaitFirst(returning bool) {
	s.delayOpening()
	switch {
	case s.own == "" && !s.unopened():
	case returning:
		s.beginSilence(returnTime)
	default:
		s.beginSilence(silenceTime)
	}
}

// AwaitNext has the own topic, if it still waits for the client's first frame, wait for another one: this one said where
// the client left off, and could not be done.
func (s *Session) AwaitNext() {
	if s.ext != nil && s.ext.silence != nil {
		s.stopSilence()
		s.beginSilence(silenceTime)
	}
}

// FollowOwn has the own topic followed, if that is still to be done.
func (s *Session) FollowOwn() { s.followOwn() }

// beginSilence waits for the client's first frame before its own topic is followed.
func (s *Session) beginSilence(wait time.Duration) {
	s.extra().silence = s.shard.loop.After(wait, func() {
		if s.gathering() != nil { // behind its answer
			s.beginSilence(missedTime)
			return
		}
		s.endSurplus()
		s.followOwn()
	})
}

func (s *Session) stopSilence() {
	s.shard.loop.Stop(s.ext.silence)
	s.ext.silence = nil
}

// followOwn follows the user's own topic, if that is still to be done.
func (s *Session) followOwn() {
	if s.ext == nil || s.ext.silence == nil {
		return
	}
	s.stopSilence()
	s.openDelayed()
	if s.own != "" && s.following(s.own) < 0 && s.waitingFor(s.own) == nil {
		s.subscribe(s.own, nil, unasked{s})
	}
	s.trim()
}

// missOwn is called when a subscription to name has ended without the session following it: the own topic must be
// followed all the same.
func (s *Session) missOwn(name string) {
	if name != s.own || name == "" || s.conn.Peer() == nil || s.extra().silence != nil {
		return
	}
	if s.shard.room() > 0 {
		s.beginSilence(missedTime)
	} else {
		s.beginSilence(roomTime)
	}
}

// letGoOwn ends what follows the own topic, or is about to, because a resume says where it left off there.
func (s *Session) letGoOwn() {
	if sub := s.waitingFor(s.own); sub != nil {
		sub.end(Refusal{NotSubscribed, "a resume took its place"})
	} else if i := s.following(s.own); i >= 0 {
		s.unfollow(i)
	}
	if s.ext != nil {
		s.stopSilence()
	}
}
