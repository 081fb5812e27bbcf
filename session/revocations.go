package session

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
)

// revocations are those that hold, by subject. Loops read them without a lock.
type revocations struct {
	mu      sync.Mutex // held to change
	current atomic.Pointer[map[string]pubsub.Revocation]
}

// add takes list in, and forgets what is over by now.
func (r *revocations) add(list []pubsub.Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[string]pubsub.Revocation)
	if old := r.current.Load(); old != nil {
		maps.Copy(next, *old)
	}
	for _, v := range list {
		if had, ok := next[v.Subject]; !ok || had.At.Before(v.At) {
			next[v.Subject] = v
		}
	}
	maps.DeleteFunc(next, func(_ string, v pubsub.Revocation) bool { return !v.Until.After(now) })
	r.current.Store(&next)
}

// refuses tells whether a token of subject, issued at that time, is refused. One that does not say when it was
// issued is.
func (r *revocations) refuses(subject string, issued time.Time) bool {
	current := r.current.Load()
	if current == nil {
		return false
	}
	v, ok := (*current)[subject]
	return ok && !issued.After(v.At)
}
