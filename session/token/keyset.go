package token

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// emptyRetry and failedRetry are the pauses after a failed fetch that nobody asked for, while there are
	// no keys at all and while there are older ones.
	emptyRetry  = 5 * time.Second
	failedRetry = 30 * time.Second
)

// keySet is the keys behind a URL, and the tokens that wait for them. Its run goroutine alone has them fetched, one
// fetch at a time.
type keySet struct {
	// Fixed at birth.
	url                       string
	refresh, refetch, timeout time.Duration
	client                    *http.Client
	onFetch                   func(keys int, err error)

	// Written by run, read by all. Nil until the first good answer; a failed fetch leaves it.
	keys atomic.Pointer[[]key]

	// wanted wakes run: a token waits. One wake-up stands for all that came since the last.
	wanted chan struct{}

	// Guarded by mu.
	mu      sync.Mutex
	begun   int      // fetches so far, the one under way included
	failure error    // of the last fetch
	waiting []waiter // in order of arrival, which is that of their deadlines
	decided []waiter // they wait for their turn only
	bytes   int      // what both hold
	ended   bool     // run is over: nobody may wait any more
}

func newKeySet(cfg Config) (*keySet, error) {
	u, err := url.Parse(cfg.JWKS)
	switch {
	case err != nil:
		return nil, errors.New("the key set's URL is malformed")
	case u.User != nil:
		return nil, errors.New("the key set's URL has a user in it: keys are public")
	case !trusted(u):
		return nil, errors.New("the key set's URL must be https, or http on loopback")
	}
	s := &keySet{
		url: cfg.JWKS, refresh: cfg.JWKSRefresh, refetch: cfg.JWKSRefetch, timeout: cfg.JWKSTimeout,
		client:  &http.Client{Transport: cfg.Transport, CheckRedirect: validateRedirect},
		onFetch: cfg.OnFetch,
		wanted:  make(chan struct{}, 1),
	}
	if cfg.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DisableKeepAlives = true // minutes pass between two fetches
		s.client.Transport = transport
	}
	return s, nil
}

// fetched is how a fetch went.
type fetched struct {
	keys []key
	err  error
}

// run keeps the keys fresh, and answers for the tokens that wait for them, until ctx ends.
func (s *keySet) run(ctx context.Context) {
	defer s.end()
	var t timetable
	landed := make(chan fetched, 1)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		now := time.Now()
		waits, until := s.expire(now)
		if !now.Before(t.turn) && s.answer(answerSlice) {
			t.turn = now.Add(answerPause)
		}
		if t.fetches(now, waits) {
			t.flying, t.allowed = true, now.Add(s.refetch)
			s.begin()
			go func() {
				keys, err := s.get(ctx)
				landed <- fetched{keys, err}
			}()
		}
		alarm.Reset(t.next(now, waits, until))
		select {
		case <-ctx.Done():
			if t.flying {
				<-landed
			}
			return
		case f := <-landed:
			if ctx.Err() != nil {
				return // ended by us: nobody's failure
			}
			t.flying, t.due = false, time.Now().Add(jitter(s.land(f)))
		case <-s.wanted:
		case <-alarm.C:
		}
	}
}

// timetable is what run does next. Its zero value begins with a fetch.
type timetable struct {
	flying  bool      // a fetch is under way
	due     time.Time // when to fetch though nobody waits
	allowed time.Time // when to fetch for those who wait
	turn    time.Time // when to answer the next slice of a crowd
}

// fetches reports whether a fetch begins now.
func (t *timetable) fetches(now time.Time, waits bool) bool {
	return !t.flying && (!now.Before(t.due) || waits && !now.Before(t.allowed))
}

// next is the time from now to what comes next; until is when the first of those who wait does no longer.
func (t *timetable) next(now time.Time, waits bool, until time.Time) time.Duration {
	next := now.Add(time.Hour) // the end of a fetch wakes run as well
	if waits {
		next = earliest(next, until)
	}
	if !t.flying {
		next = earliest(next, t.due)
	}
	if !t.flying && waits {
		next = earliest(next, t.allowed)
	}
	if t.turn.After(now) {
		next = earliest(next, t.turn)
	}
	return next.Sub(now)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// jitter spreads the fetches of instances that started together, by ±10 %.
func jitter(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

// begin counts a fetch: it answers for the tokens that wait by now.
func (s *keySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
}

// land takes what a fetch brought, and returns the pause until the next one that nobody asks for.
func (s *keySet) land(f fetched) time.Duration {
	s.mu.Lock()
	if f.err == nil {
		s.keys.Store(&f.keys)
	}
	s.failure = f.err
	s.judge(f.err)
	s.mu.Unlock()
	s.onFetch(len(f.keys), f.err)
	switch {
	case f.err == nil:
		return s.refresh
	case s.keys.Load() == nil:
		return emptyRetry
	}
	return failedRetry
}

// ready is nil once keys have come, else why they have not.
func (s *keySet) ready() error {
	if s.keys.Load() != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return fmt.Errorf("%w: there is no key yet: %w", ErrUnavailable, s.failure)
	}
	return fmt.Errorf("%w: the key set is being fetched", ErrUnavailable)
}

// version changes whenever keys come.
func (s *keySet) version() *[]key {
	if s == nil {
		return nil
	}
	return s.keys.Load()
}

// list is the keys at hand.
func (s *keySet) list() []key {
	if s == nil || s.keys.Load() == nil {
		return nil
	}
	return *s.keys.Load()
}

// knows reports whether a fetch is pointless for tokens with this kid: the set was had, and names it, or
// the token names none.
func (s *keySet) knows(kid string) bool {
	for _, k := range s.list() {
		if kid == "" || k.id == kid {
			return true
		}
	}
	return false
}
