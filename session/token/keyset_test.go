package token

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run runs v until the test ends, or until the func is called.
func run(t *testing.T, v *Verifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// verifyFetching is Verify, and VerifyLater where a fetch is needed.
func verifyFetching(t *testing.T, v *Verifier, text string) (Claims, error) {
	t.Helper()
	c, err := v.Verify(text)
	if !errors.Is(err, ErrNeedsFetch) {
		return c, err
	}
	type verdict struct {
		c   Claims
		err error
	}
	done := make(chan verdict, 2)
	if !v.VerifyLater(text, func(c Claims, err error) { done <- verdict{c, err} }) {
		t.Fatal("not accepted")
	}
	got := <-done
	return got.c, got.err
}

// issuer is the other end of a Transport: what it publishes can change, and fetches are counted.
type issuer struct {
	mu      sync.Mutex
	text    string
	err     error
	delay   time.Duration
	fetches atomic.Int64
}

func (i *issuer) publish(text string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.text, i.err = text, err
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.fetches.Add(1)
	i.mu.Lock()
	text, err, delay := i.text, i.err, i.delay
	i.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

const setURL = "https://login.example/keys?credential=hunter2hunter2"

func signedBy(t *testing.T, alg, name, kid string) string {
	t.Helper()
	return sign(t, alg, pairs()[name], map[string]any{"kid": kid}, claims(nil))
}

func TestAKeySetIsFetchedRefreshedAndKept(t *testing.T) {
	first, second := asSet(t, asJWK(t, "P-256", "1")), asSet(t, asJWK(t, "P-384", "2"))
	old, fresh := signedBy(t, "ES256", "P-256", "1"), signedBy(t, "ES384", "P-384", "2")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: first}
		var failures []string
		v := verifier(t, Config{JWKS: setURL, Transport: is, OnFetch: func(keys int, err error) {
			if err != nil {
				failures = append(failures, err.Error())
			} else if keys != 1 {
				t.Errorf("%d keys", keys)
			}
		}})
		if _, err := v.Verify(old); !errors.Is(err, ErrNeedsFetch) {
			t.Errorf("before the first fetch: %v", err)
		}
		stop := run(t, v)
		synctest.Wait()
		if _, err := v.Verify(old); err != nil || is.fetches.Load() != 1 {
			t.Errorf("after the first fetch: %v", err)
		}

		is.publish("", errors.New("down"))
		for begin := time.Now(); is.fetches.Load() == 1 && time.Since(begin) < 17*time.Minute; { // it is due after 15 ±10 %
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := len(failures); n == 0 || strings.Contains(failures[0], "hunter2") {
			t.Errorf("failures: %q", failures)
		}
		if _, err := v.Verify(old); err != nil {
			t.Errorf("while the URL fails: %v", err)
		}
		if _, err := verifyFetching(t, v, signedBy(t, "ES256", "P-256", "unheard")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("unknown kid right after a failure: %v", err)
		}

		is.publish(second, nil)
		time.Sleep(time.Minute) // a failed fetch is repeated after 30 s
		synctest.Wait()
		if _, err := v.Verify(fresh); err != nil {
			t.Errorf("after the rotation: %v", err)
		}
		if _, err := v.Verify(old); err == nil {
			t.Error("the old key is still good")
		}
		before := is.fetches.Load()
		time.Sleep(24 * time.Hour)
		if n := is.fetches.Load() - before; n < 24*60/17 || n > 24*60/13 {
			t.Errorf("%d fetches in a day", n)
		}
		stop()
	})
}

func TestAnUnknownKeyIsFetchedOnceForAll(t *testing.T) {
	both := asSet(t, asJWK(t, "P-256", "1"), asJWK(t, "P-384", "2"))
	fresh := signedBy(t, "ES384", "P-384", "2")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: asSet(t, asJWK(t, "P-256", "1")), delay: time.Second}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		stop := run(t, v)
		time.Sleep(time.Minute)
		is.publish(both, nil)

		if _, err := v.Verify(fresh); !errors.Is(err, ErrNeedsFetch) {
			t.Errorf("rotated: %v", err)
		}
		if n := is.fetches.Load(); n != 1 {
			t.Errorf("Verify itself made fetch %d", n)
		}
		begun := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := verifyFetching(t, v, fresh); err != nil {
					t.Errorf("later: %v", err)
				}
			})
		}
		all.Wait()
		if n := is.fetches.Load(); n != 2 || time.Since(begun) != time.Second {
			t.Errorf("50 callers made %d fetches in %s", n-1, time.Since(begun))
		}

		// Made-up kids, for ten minutes: a fetch per 3 s, and everybody is answered.
		for range 600 {
			if _, err := verifyFetching(t, v, signedBy(t, "ES384", "P-384", "made up")); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("a made-up kid: %v", err)
			}
		}
		if n, least := int(is.fetches.Load()), int(time.Since(begun)/(3*time.Second)); n < 590 || n > least+2 {
			t.Errorf("%d fetches in %s", n, time.Since(begun))
		}
		// A token that a fetch can't help is answered at once.
		before := is.fetches.Load()
		for name, text := range map[string]string{
			"symmetric":        sign(t, "HS256", []byte(secret), map[string]any{"kid": "none"}, claims(nil)),
			"bad signature":    flip(fresh, len(fresh)-10),
			"without a kid":    sign(t, "RS256", pairs()["RSA"], nil, claims(nil)),
			"another's for it": signedBy(t, "ES256", "P-256", "2"),
		} {
			if _, err := v.Verify(text); !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrBadSignature) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if is.fetches.Load() != before {
			t.Error("it is fetched for")
		}
		stop()
	})
}

func TestWithoutAnyKeyTheSetIsUnavailable(t *testing.T) {
	good, set := signedBy(t, "ES256", "P-256", "1"), asSet(t, asJWK(t, "P-256", "1"))
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{err: errors.New("down"), delay: time.Second}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		stop := run(t, v)
		for range 3 {
			if _, err := verifyFetching(t, v, good); !errors.Is(err, ErrUnavailable) {
				t.Errorf("while it is down: %v", err)
			}
		}
		is.publish(set, nil)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if _, err := v.Verify(good); err != nil {
			t.Errorf("when it is up again: %v", err)
		}
		stop()
		if v.VerifyLater(signedBy(t, "ES256", "P-256", "3"), func(Claims, error) { t.Error("done is called") }) {
			t.Error("accepted when Run has ended")
		}
	})
}

func TestASlowSetKeepsNobodyLongerThanTheTimeout(t *testing.T) {
	good := signedBy(t, "ES256", "P-256", "1")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: asSet(t, asJWK(t, "P-256", "1")), delay: time.Hour}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		stop := run(t, v)
		for range 30 { // at any moment of a fetch
			begun := time.Now()
			if _, err := verifyFetching(t, v, good); !errors.Is(err, ErrUnavailable) || time.Since(begun) > 5*time.Second {
				t.Errorf("%v after %s", err, time.Since(begun))
			}
			time.Sleep(700 * time.Millisecond)
		}
		if n := is.fetches.Load(); n > 40 {
			t.Errorf("%d fetches", n)
		}
		done := make(chan error, 1)
		v.VerifyLater(good, func(_ Claims, err error) { done <- err })
		begun := time.Now()
		stop()
		if err := <-done; !errors.Is(err, ErrUnavailable) || time.Since(begun) > 0 {
			t.Errorf("at the end: %v after %s", err, time.Since(begun))
		}
	})
}

// TestARealServer is about what only a socket shows.
func TestARealServer(t *testing.T) {
	t.Parallel()
	good := signedBy(t, "RS256", "RSA", "1")
	set := asSet(t, asJWK(t, "RSA", "1"))
	released := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if !r.Close {
			t.Error("the connection is kept between fetches")
		}
		io.WriteString(w, set)
	})
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, set)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, set[:len(set)-1]+strings.Repeat(" ", maxSetBytes)+"}")
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-released
	})
	mux.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler("http://192.0.2.1/keys", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(released) })
	for path, want := range map[string]string{
		"/good": "", "/moved": "", "/error": "status 500", "/missing": "status 404", "/huge": "over", "/endless": "over",
		"/slow": "deadline", "/html": "not a JWK set", "/away": "not trusted", "/round": "too often",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			fetched := make(chan error, 1)
			timeout := 5 * time.Second
			if path == "/slow" {
				timeout = 50 * time.Millisecond
			}
			v := verifier(t, Config{JWKS: server.URL + path, JWKSTimeout: timeout, JWKSRefetch: 100 * time.Millisecond, OnFetch: func(_ int, err error) { fetched <- err }})
			stop := run(t, v)
			err := <-fetched
			switch {
			case (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want):
				t.Errorf("%v, want %q", err, want)
			case err != nil && strings.Contains(err.Error(), server.URL):
				t.Errorf("the error has the URL: %v", err)
			}
			if _, err := verifyFetching(t, v, good); (err == nil) != (want == "") {
				t.Errorf("verify: %v", err)
			}
			stop()
		})
	}
}

func TestAFetchThatRunsEndCutsShortIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{JWKS: setURL, Transport: &issuer{delay: time.Hour}, OnFetch: func(_ int, err error) { t.Errorf("told of %v", err) }})
		stop := run(t, v)
		synctest.Wait()
		stop()
	})
}

func TestPausesDiffer(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 100 {
		d := jitter(time.Minute)
		seen[d] = true
		if d < 54*time.Second || d > 66*time.Second {
			t.Errorf("%s for a minute", d)
		}
	}
	if len(seen) < 2 {
		t.Error("all are the same")
	}
}

func TestAStaticKeyBesideASetNeedsNoFetch(t *testing.T) {
	v := verifier(t, Config{Secrets: []string{secret}, KeyFiles: []string{file(t, publicPEM(t, "RSA"))}, JWKS: setURL})
	for _, text := range []string{sign(t, "HS256", []byte(secret), nil, claims(nil)), signedBy(t, "RS256", "RSA", "any")} {
		if _, err := v.Verify(text); err != nil {
			t.Error(err)
		}
	}
	if _, err := v.Verify(signedBy(t, "RS256", "RSA 2", "1")); !errors.Is(err, ErrNeedsFetch) {
		t.Errorf("a key that the set may have: %v", err)
	}
}

func TestOnlyAFewSignaturesAreTried(t *testing.T) {
	set := make([]map[string]string, maxSetKeys)
	for i := range set {
		set[i] = asJWK(t, "RSA 2", "other")
	}
	set[maxTries] = asJWK(t, "RSA", "mine")
	keys, err := parseSet([]byte(asSet(t, set...)))
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, Config{JWKS: setURL})
	v.set.keys.Store(&keys)
	if _, err := v.Verify(sign(t, "RS256", pairs()["RSA"], nil, claims(nil))); !errors.Is(err, ErrBadSignature) {
		t.Errorf("without a kid, behind the limit: %v", err)
	}
	if _, err := v.Verify(signedBy(t, "RS256", "RSA", "mine")); err != nil {
		t.Errorf("with its kid: %v", err)
	}
}

// A token that is looked at while its key arrives is good: it must not be judged by what was known before.
func TestAKeyThatComesMeanwhileIsUsed(t *testing.T) {
	good := signedBy(t, "ES256", "P-256", "1")
	for range 100 {
		v := verifier(t, Config{JWKS: setURL, Transport: &issuer{text: asSet(t, asJWK(t, "P-256", "1"))}})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for {
					_, err := v.Verify(good)
					if err == nil {
						return
					}
					if !errors.Is(err, ErrNeedsFetch) {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Go(func() { _ = v.Run(ctx) })
		for v.set.version() == nil {
			runtime.Gosched()
		}
		cancel()
		all.Wait()
	}
}
