package token

import (
	"fmt"
	"sync"
	"time"
)

// maxRevocations is the default bound: about 20 MB.
const maxRevocations = 100_000

// Revocation says that tokens of Subject issued at or before At are refused. It is forgotten after Until, when
// none of them would be valid any more. Its fields are those of the broker's type of this name, which
// converts to it.
type Revocation struct {
	Subject string // of UserSubject or SessionSubject
	At      time.Time
	Until   time.Time
}

// UserSubject names a user in a Revocation.
func UserSubject(user string) string { return "user:" + user }

// SessionSubject names a session in a Revocation, by the name that clients know it by.
func SessionSubject(session string) string { return "session:" + session }

// Revocations are those that hold. Reads are for handshakes and share a lock; a copy for each change,
// to read without one, would make revoking many users quadratic.
type Revocations struct {
	limit int
	now   func() time.Time

	mu      sync.RWMutex
	spans   map[string]span
	sweepAt int // the length at which expired ones are looked for
}

type span struct{ at, until time.Time }

// NewRevocations makes an empty set of up to limit entries, 100,000 if limit is 0. now is the clock,
// time.Now if nil.
func NewRevocations(limit int, now func() time.Time) *Revocations {
	if limit == 0 {
		limit = maxRevocations
	}
	if now == nil {
		now = time.Now
	}
	return &Revocations{limit: limit, now: now, spans: make(map[string]span), sweepAt: min(limit, 1024)}
}

// Revoked tells whether a token issued at that time is refused, for its user or its session; "" for none of
// these. A token that does not say when it was issued counts as old. JWTs say it in whole seconds, so
// one issued within the second of the revocation is refused, too.
func (r *Revocations) Revoked(user, session string, issued time.Time) bool {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.spans) == 0 {
		return false
	}
	return user != "" && r.spans[UserSubject(user)].covers(issued, now) ||
		session != "" && r.spans[SessionSubject(session)].covers(issued, now)
}

func (s span) covers(issued, now time.Time) bool { return !issued.After(s.at) && now.Before(s.until) }

// Apply adds revocations; of two for one subject the later times hold. An error says how many found no
// room: their tokens are accepted.
func (r *Revocations) Apply(list ...Revocation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(list)
}

// Replace makes the set what list says.
func (r *Revocations) Replace(list []Revocation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.spans)
	return r.add(list)
}

// Len is how many entries are held, expired ones included.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.spans)
}

func (r *Revocations) add(list []Revocation) error {
	now := r.now()
	var swept bool
	var refused int
	for _, v := range list {
		if !now.Before(v.Until) {
			continue
		}
		old, known := r.spans[v.Subject]
		if !known && len(r.spans) >= r.sweepAt && !swept {
			r.sweep(now)
			swept = len(r.spans) >= r.limit // in vain: not again for this list
		}
		if !known && len(r.spans) >= r.limit {
			refused++
			continue
		}
		r.spans[v.Subject] = span{at: later(old.at, v.At), until: later(old.until, v.Until)}
	}
	if refused > 0 {
		return fmt.Errorf("%d revocations found no room: %d are held", refused, r.limit)
	}
	return nil
}

// sweep forgets what has expired. It comes again when the set has doubled, so that it costs little.
func (r *Revocations) sweep(now time.Time) {
	for subject, s := range r.spans {
		if !now.Before(s.until) {
			delete(r.spans, subject)
		}
	}
	r.sweepAt = min(r.limit, max(1024, 2*len(r.spans)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
