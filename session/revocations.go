package session

import (
	"maps"
	"sync"
	"time"

	"wshub/pubsub"
)

// revocations are those that hold, by subject. They are read at handshakes, resumes and auth only, so a lock
// does for the loops; a copy for each change would make revoking many users quadratic.
type revocations struct {
	mu      sync.RWMutex
	held    map[string]pubsub.Revocation
	sweepAt int // the length at which those that are over are looked for
}

// add takes list in; two for one subject hold as one that reaches as far as both.
func (r *revocations) add(list []pubsub.Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = make(map[string]pubsub.Revocation)
	}
	for _, v := range list {
		if had, ok := r.held[v.Subject]; ok { // each as far as it reaches
			v.At = latest(had.At, v.At)
			v.Until = latest(had.Until, v.Until)
		}
		r.held[v.Subject] = v
	}
	if len(r.held) >= r.sweepAt {
		maps.DeleteFunc(r.held, func(_ string, v pubsub.Revocation) bool { return !now.Before(v.Until) })
		r.sweepAt = max(1024, 2*len(r.held)) // when it has doubled: seldom enough to cost little
	}
}

// refuses tells whether a token of subject, issued at that time, is refused. One that does not say when it was
// issued is. JWTs say it in whole seconds, so one of the same second is refused, too.
func (r *revocations) refuses(subject string, issued, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.held[subject]
	return ok && !issued.After(v.At) && now.Before(v.Until)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
