package session

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wshub/pubsub"
	"wshub/session/token"
)

// maxRefusedTokens bounds the tokens that are refused one by one, of one subject: 64 KiB. Over it all are refused that
// were issued until then.
const maxRefusedTokens = 4096

// revocations are those that hold, by subject. They are read at handshakes, resumes and auth only, so a lock
// does for the loops; a copy for each change would make revoking many users quadratic.
type revocations struct {
	// version grows with each change. A token is judged by all changes up to the version that was read before.
	version atomic.Uint64

	mu      sync.RWMutex
	held    map[string]refused
	sweepAt int // the length at which expired ones are swept
}

// refused is what revocations of one subject refuse together.
type refused struct {
	before int64 // what was issued before it on the issuer's clock, in Unix µs
	sealed int64 // resume tokens sealed until then on the hubs' clock, in Unix ms; 0: none
	at     int64 // when the latest of them was made, in Unix ms
	tokens []token.Fingerprint
	until  time.Time
}

// change is a revocation that refuses more than was refused before.
type change struct {
	pubsub.Revocation
	refused
	version uint64
	inUse   bool // tokens in use are refused, too, which they were not before
}

// readRevocation is what v refuses by itself.
func readRevocation(v pubsub.Revocation) refused {
	r := refused{until: v.Until, at: v.At.UnixMilli()}
	switch {
	case v.Before.IsZero():
		r.before, r.sealed = v.At.UnixMicro()+1, v.At.UnixMilli()
	case v.InUse:
		r.before, r.sealed = v.Before.UnixMicro(), v.At.UnixMilli()
	default:
		r.before = v.Before.UnixMicro()
	}
	for _, text := range v.Tokens[:min(len(v.Tokens), maxRefusedTokens)] {
		if f, ok := token.ParseFingerprint(text); ok {
			r.tokens = append(r.tokens, f)
		}
	}
	return r
}

// join makes r refuse what other does, too, and reports whether that is more.
func (r *refused) join(other refused, now time.Time) (more bool) {
	more = other.before > r.before || other.sealed > r.sealed
	r.before, r.sealed, r.until = max(r.before, other.before), max(r.sealed, other.sealed), latest(r.until, other.until)
	r.at = max(r.at, other.at)
	for _, f := range other.tokens {
		if slices.Contains(r.tokens, f) {
			continue
		}
		more = true
		if len(r.tokens) == maxRefusedTokens {
			r.before = max(r.before, now.Truncate(time.Second).Add(time.Second).UnixMicro())
			break
		}
		r.tokens = append(r.tokens, f)
	}
	return more
}

// add takes list in, in any order and as often as it comes, and returns what of it is new. Revocations of one subject
// hold as one that refuses what each does, for as long as any.
func (r *revocations) add(list []pubsub.Revocation, now time.Time) (changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = make(map[string]refused)
	}
	for _, v := range list {
		one, had := readRevocation(v), r.held[v.Subject]
		if one.over(now) {
			continue
		}
		inUse := v.InUse && one.sealed > had.sealed
		if had.join(one, now) {
			changes = append(changes, change{v, one, r.version.Add(1), inUse})
		}
		r.held[v.Subject] = had
	}
	if len(r.held) >= r.sweepAt {
		maps.DeleteFunc(r.held, func(_ string, v refused) bool { return v.over(now) })
		r.sweepAt = max(1024, 2*len(r.held)) // when it has doubled: seldom enough to cost little
	}
	return changes
}

func (r *refused) over(now time.Time) bool { return !now.Before(r.until) }

func (r *revocations) get(subject string, now time.Time) (refused, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	held, ok := r.held[subject]
	return held, ok && !held.over(now)
}

// refuses reports whether a token of subject, issued at that Unix time in µs, is refused. One that does not say
// when it was issued, with 0, is.
func (r *revocations) refuses(subject string, issued int64, f token.Fingerprint, now time.Time) bool {
	held, ok := r.get(subject, now)
	return ok && (issued < held.before || slices.Contains(held.tokens, f))
}

// refusesResume reports whether a resume token of subject is refused: because it was sealed before the revocation, or as
// the JWT that its session had.
func (r *revocations) refusesResume(subject string, t token.Resume, now time.Time) bool {
	held, ok := r.get(subject, now)
	if !ok {
		return false
	}
	issued := t.Granted
	if issued.IsZero() {
		issued = t.Issued
	}
	return t.Issued.UnixMilli() <= held.sealed || issued.UnixMilli() < held.before/1000
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func unixMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// revocation is what readRevocation makes r of. If r is of one revocation, it is that, to the letter: Revoke leaves out what
// r does not hold.
func (r *refused) revocation(subject string) pubsub.Revocation {
	v := pubsub.Revocation{
		Subject: subject, At: time.UnixMilli(r.at).UTC(), Until: r.until.UTC(), Before: time.UnixMicro(r.before).UTC(), InUse: r.sealed != 0,
	}
	for _, f := range r.tokens {
		v.Tokens = append(v.Tokens, f.String())
	}
	return v
}

// heldBatch is how many revocations are read while writers wait.
const heldBatch = 256

// all calls yield for those that hold. Others may add some meanwhile.
func (r *revocations) all(now time.Time, yield func(pubsub.Revocation) bool) {
	batch := make([]pubsub.Revocation, 0, heldBatch)
	r.mu.RLock()
	for subject, held := range r.held {
		if !held.over(now) {
			batch = append(batch, held.revocation(subject))
		}
		if len(batch) < heldBatch {
			continue
		}
		r.mu.RUnlock()
		for _, v := range batch {
			if !yield(v) {
				return
			}
		}
		batch = batch[:0]
		r.mu.RLock()
	}
	r.mu.RUnlock()
	for _, v := range batch {
		if !yield(v) {
			return
		}
	}
}

// HeldRevocations calls yield for all revocations that hold, so that a broker that has lost some gets them back.
func (h *Hub) HeldRevocations(yield func(pubsub.Revocation) bool) {
	h.revocations.all(time.Now(), yield)
}
