package token

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxWaiting and maxWaitingBytes bound the tokens that wait for a fetch.
	maxWaiting      = 4096
	maxWaitingBytes = 4 << 20
	// waiterCost is what a waiting token holds beside its text: its line, and a small closure.
	waiterCost = 256
)

// waiter is a token whose key was not at hand.
type waiter struct {
	token, kid string
	done       func(Claims, error)
	until      time.Time // then it is answered ErrUnavailable
	fetches    int       // those begun before it came: a later one answers for good
	verdict    error     // of a fetch that has the last word; nil: none yet
}

func (w *waiter) cost() int { return len(w.token) + len(w.kid) + waiterCost }

// VerifyLater is for a token on which Verify said ErrNeedsFetch: it judges the token when the key set has been
// fetched. It never blocks. done is called once, from another goroutine, after Config.JWKSTimeout and a moment at the
// latest, and must not block. Its error may be any of Verify's but ErrNeedsFetch:
//
//   - ErrUnknownKey: a fetch that began after this call has brought no such key.
//   - ErrUnavailable: no fetch has succeeded in time, or Run has ended.
//
// False: nothing will be done, because 4,096 tokens or 4 MiB of them wait already, or Run has ended. It needs Run.
func (v *Verifier) VerifyLater(token string, done func(Claims, error)) (accepted bool) {
	if v.set == nil {
		return false
	}
	w := waiter{token: token, done: done}
	// Of a token that can't be read the kid is "": it is judged as soon as there is any key.
	if parsed, _, err := v.parser.ParseUnverified(token, jwt.MapClaims{}); err == nil {
		_, w.kid, _ = header(parsed)
	}
	return v.set.wait(w)
}

// wait makes w wait for the next fetch, or for its turn if its key has come meanwhile.
func (s *keySet) wait(w waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.waiting) == maxWaiting || s.bytes+w.cost() > maxWaitingBytes {
		return false
	}
	w.fetches, w.until = s.begun, time.Now().Add(s.timeout)
	s.waiting = append(s.waiting, w)
	s.bytes += w.cost()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	return true
}

// answer answers those whose key is at hand, about whom a fetch has had the last word, or whose time is over at now. It
// tells whether others wait, and how long the first of them may.
func (s *keySet) answer(now time.Time, check func(token string) (Claims, error)) (waits bool, until time.Time) {
	s.mu.Lock()
	var ready []waiter
	rest := s.waiting[:0]
	for _, w := range s.waiting {
		switch {
		case s.knows(w.kid):
			w.verdict = nil
		case w.verdict != nil:
		case !now.Before(w.until):
			w.verdict = ErrUnavailable
		default:
			rest = append(rest, w)
			continue
		}
		ready = append(ready, w)
		s.bytes -= w.cost()
	}
	clear(s.waiting[len(rest):])
	if s.waiting = rest; len(rest) == 0 {
		s.waiting = nil // a crowd may have been here
	} else {
		waits, until = true, rest[0].until
	}
	s.mu.Unlock()

	for _, w := range ready {
		if w.verdict != nil {
			w.done(Claims{}, w.verdict)
			continue
		}
		c, err := check(w.token)
		if errors.Is(err, ErrNeedsFetch) {
			err = ErrUnknownKey // it was not of a kind that the set can help
		}
		w.done(c, err)
	}
	return waits, until
}

// end answers all who wait, and lets nobody wait any more.
func (s *keySet) end() {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting, s.bytes, s.ended = nil, 0, true
	s.mu.Unlock()
	for _, w := range waiting {
		w.done(Claims{}, ErrUnavailable)
	}
}
