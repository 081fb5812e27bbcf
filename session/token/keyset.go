package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxSetBytes  = 256 << 10 // 64 RSA keys of 8,192 bits with certificates
	maxRedirects = 3
	// emptyRetry replaces the refetch interval while there are no keys: until then nobody gets in.
	emptyRetry = 5 * time.Second
)

// keySet is the keys behind a URL. Its run goroutine alone fetches them.
type keySet struct {
	// Fixed at birth.
	url                       string
	refresh, refetch, timeout time.Duration
	client                    *http.Client
	onFetch                   func(keys int, err error)

	// Written by run, read by all. Nil until the first good answer; a failed fetch leaves it.
	keys atomic.Pointer[[]key]

	// wanted wakes run. It holds one wish: those that come while it waits are the same one.
	wanted chan struct{}

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch that is wanted or under way has ended; nil: none is
	next   time.Time     // before it nobody's wish is granted
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
		client:  &http.Client{Transport: cfg.Transport, CheckRedirect: checkRedirect},
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

// trusted tells whether what comes from u can't be forged on the way.
func trusted(u *url.URL) bool {
	if u.Scheme != "http" {
		return u.Scheme == "https" && u.Host != ""
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || !trusted(r.URL) {
		return errors.New("redirected too often, or to where keys are not trusted")
	}
	return nil
}

// run keeps the keys fresh until ctx ends.
func (s *keySet) run(ctx context.Context) {
	for {
		s.begin()
		err := s.fetch(ctx)
		s.end()
		if ctx.Err() != nil {
			return
		}
		pause := s.refresh
		if err != nil {
			pause = s.interval()
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-ctx.Done():
		case <-s.wanted:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// jitter spreads the fetches of instances that started together, by ±10 %.
func jitter(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

// interval is the least time between two fetches.
func (s *keySet) interval() time.Duration {
	if s.keys.Load() == nil {
		return min(s.refetch, emptyRetry)
	}
	return s.refetch
}

func (s *keySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
}

func (s *keySet) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.flight)
	s.flight = nil
	s.next = time.Now().Add(s.interval())
	select {
	case <-s.wanted: // granted by this very fetch, which the timer began
	default:
	}
}

// fetch replaces the keys, or leaves them and says why.
func (s *keySet) fetch(ctx context.Context) error {
	keys, err := s.get(ctx)
	if err != nil && ctx.Err() != nil {
		return err // ended by us: nobody's failure
	}
	if err == nil {
		s.keys.Store(&keys)
	}
	s.onFetch(len(keys), err)
	return err
}

func (s *keySet) get(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, errors.New("fetch the key set: the URL is malformed")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = withURL.Err // a query may hold a credential
		}
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the key set: status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch the key set: %w", err)
	case len(text) > maxSetBytes:
		return nil, fmt.Errorf("fetch the key set: over %d bytes", maxSetBytes)
	}
	keys, err := parseSet(text)
	if err != nil {
		return nil, fmt.Errorf("fetch the key set: %w", err)
	}
	return keys, nil
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

// knows tells whether a fetch is pointless for tokens with this kid: the set was had, and names it, or
// the token names none.
func (s *keySet) knows(kid string) bool {
	if s.keys.Load() == nil {
		return false
	}
	for _, k := range s.list() {
		if kid == "" || k.id == kid {
			return true
		}
	}
	return false
}

// absent is what to say of a key that is not at hand: ErrNeedsFetch if a fetch may be waited for.
func (s *keySet) absent() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.next) {
		return ErrNeedsFetch
	}
	return s.unknown()
}

// unknown is what to say once a fetch did not help.
func (s *keySet) unknown() error {
	if s.keys.Load() == nil {
		return ErrUnavailable
	}
	return ErrUnknownKey
}

// await returns when a fetch has ended, or at once if none is due. ErrUnavailable if ctx ends before.
func (s *keySet) await(ctx context.Context) error {
	flight := s.board()
	if flight == nil {
		return nil
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ErrUnavailable
	}
}

// board joins the fetch under way or asks for one. Nil if none is due.
func (s *keySet) board() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		if time.Now().Before(s.next) {
			return nil
		}
		s.flight = make(chan struct{})
		s.wanted <- struct{}{} // never blocks: end has emptied it when it took the last flight away
	}
	return s.flight
}
