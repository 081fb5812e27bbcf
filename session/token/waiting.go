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
	// Of a crowd that waited, answerSlice are answered every answerPause: each answer may be a handshake that some
	// loop completes, among others who did not wait. 4,096 take 160 ms.
	answerSlice = 128
	answerPause = 5 * time.Millisecond
)

// waiter is a token whose key was not at hand.
type waiter struct {
	token, kid string
	done       func(verdict error) // with nil, the token is checked
	until      time.Time           // then it is answered ErrUnavailable
	fetches    int                 // those begun before it came: a later one answers for good
	verdict    error               // once decided; nil: the key is at hand
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
	return later(v, token, func() (Claims, error) { return v.verify(token) }, done)
}

// later calls done with the result of verify once the key set has been fetched.
func later[T any](v *Verifier, token string, verify func() (T, error), done func(T, error)) (accepted bool) {
	if v.set == nil {
		return false
	}
	w := waiter{token: token, done: func(verdict error) {
		var c T
		if verdict == nil {
			if c, verdict = verify(); errors.Is(verdict, ErrNeedsFetch) {
				verdict = ErrUnavailable // the set has changed again
			}
		}
		done(c, verdict)
	}}
	// Of a token that can't be read the kid is "": it is judged as soon as there is any key.
	if parsed, _, err := v.parser.ParseUnverified(token, jwt.MapClaims{}); err == nil {
		_, w.kid, _ = header(parsed)
	}
	return v.set.wait(w)
}

// wait makes w wait for a fetch, or for its turn if its key has come meanwhile.
func (s *keySet) wait(w waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.waiting)+len(s.decided) >= maxWaiting || s.bytes+w.cost() > maxWaitingBytes {
		return false
	}
	w.fetches, w.until = s.begun, time.Now().Add(s.timeout)
	if s.knows(w.kid) {
		s.decided = append(s.decided, w)
	} else {
		s.waiting = append(s.waiting, w)
	}
	s.bytes += w.cost()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	return true
}

// judge decides about those whose key a fetch has brought, and about whom it has the last word: err is how it
// went. Under the lock.
func (s *keySet) judge(err error) {
	lastWord := ErrUnknownKey
	if err != nil {
		lastWord = ErrUnavailable
	}
	rest := s.waiting[:0]
	for _, w := range s.waiting {
		switch {
		case s.knows(w.kid):
		case w.fetches < s.begun: // it came before the fetch began
			w.verdict = lastWord
		default:
			rest = append(rest, w)
			continue
		}
		s.decided = append(s.decided, w)
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
}

// expire decides about those whose time is over at now. It reports whether others wait, and until when the first does.
func (s *keySet) expire(now time.Time) (waits bool, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 && !now.Before(s.waiting[0].until) {
		w := s.waiting[0]
		w.verdict = ErrUnavailable
		s.decided = append(s.decided, w)
		s.waiting[0] = waiter{}
		s.waiting = s.waiting[1:]
	}
	if len(s.waiting) == 0 {
		s.waiting = nil // a crowd may have been here
		return false, time.Time{}
	}
	return true, s.waiting[0].until
}

// take removes and returns up to n waiters with a verdict.
func (s *keySet) take(n int) (decided []waiter, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.decided))
	decided = s.decided[:n:n]
	for i := range decided {
		s.bytes -= decided[i].cost()
	}
	if s.decided = s.decided[n:]; len(s.decided) == 0 {
		s.decided = nil
	}
	return decided, s.decided != nil
}

// answer answers up to n of those who were decided about. It reports whether there are more.
func (s *keySet) answer(n int) (more bool) {
	decided, more := s.take(n)
	for i := range decided {
		decided[i].done(decided[i].verdict)
		decided[i] = waiter{}
	}
	return more
}

// end answers all who wait, and lets nobody wait any more.
func (s *keySet) end() {
	s.mu.Lock()
	s.ended = true
	s.begun++ // all came before the fetch that will never be
	s.judge(ErrUnavailable)
	s.mu.Unlock()
	s.answer(maxWaiting)
}
