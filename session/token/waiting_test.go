package token

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A key that was just added is found though somebody with an unknown one was there just before: he has used up
// nobody's fetch, and nobody is told for good what only an old fetch has seen.
func TestAKeyJustAddedIsFoundThoughAStrangerAskedJustBefore(t *testing.T) {
	one, both := asSet(t, asJWK(t, "P-256", "1")), asSet(t, asJWK(t, "P-256", "1"), asJWK(t, "P-384", "2"))
	fresh, forged := signedBy(t, "ES384", "P-384", "2"), signedBy(t, "ES384", "P-384", "made up")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: one, delay: 100 * time.Millisecond}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		run(t, v)
		time.Sleep(time.Minute)
		if _, err := verifyFetching(t, v, forged); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("a stranger: %v", err)
		}
		is.publish(both, nil)
		begun := time.Now()
		if _, err := verifyFetching(t, v, fresh); err != nil || time.Since(begun) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// The key comes while a fetch is under way that does not have it: that fetch says nothing about the token.
func TestAFetchThatBeganBeforeTheTokenCameIsNotTheLastWord(t *testing.T) {
	one, both := asSet(t, asJWK(t, "P-256", "1")), asSet(t, asJWK(t, "P-256", "1"), asJWK(t, "P-384", "2"))
	fresh, forged := signedBy(t, "ES384", "P-384", "2"), signedBy(t, "ES384", "P-384", "made up")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: one, delay: time.Second}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		run(t, v)
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := verifyFetching(t, v, forged); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("the stranger: %v", err)
			}
		})
		time.Sleep(500 * time.Millisecond) // the stranger's fetch has read the set by now
		is.publish(both, nil)
		if _, err := verifyFetching(t, v, fresh); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

func TestTokensThatWaitAreBoundedInCountAndBytes(t *testing.T) {
	for name, size := range map[string]int{"count": 0, "bytes": 4000} {
		long := sign(t, "ES256", pairs()["P-256"], map[string]any{"kid": "none"}, claims(map[string]any{"x": strings.Repeat("x", size)}))
		synctest.Test(t, func(t *testing.T) {
			is := &issuer{text: asSet(t, asJWK(t, "P-256", "1"))}
			v := verifier(t, Config{JWKS: setURL, Transport: is})
			run(t, v)
			synctest.Wait()
			is.mu.Lock()
			is.delay = time.Hour
			is.mu.Unlock()
			time.Sleep(time.Minute)
			answered, accepted := 0, 0
			for v.VerifyLater(long, func(_ Claims, err error) {
				answered++
				if !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
			}) {
				accepted++
			}
			bytes := func() int {
				v.set.mu.Lock()
				defer v.set.mu.Unlock()
				return v.set.bytes
			}
			if n := bytes(); n > maxWaitingBytes || accepted > maxWaiting || name == "bytes" == (accepted == maxWaiting) {
				t.Errorf("%s: %d wait, %d bytes", name, accepted, n)
			}
			if _, err := v.Verify(signedBy(t, "ES256", "P-256", "1")); err != nil {
				t.Errorf("a key that is known: %v", err)
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
			if n := bytes(); answered != accepted || n != 0 {
				t.Errorf("%s: %d of %d are answered, %d bytes are left", name, answered, accepted, n)
			}
			if !v.VerifyLater(long, func(Claims, error) {}) {
				t.Error("there is no room again")
			}
		})
	}
}

func TestAVerifierIsReadyOnceItHasKeys(t *testing.T) {
	if err := verifier(t, Config{Secrets: []string{secret}}).Ready(); err != nil {
		t.Errorf("without a set: %v", err)
	}
	set := asSet(t, asJWK(t, "P-256", "1"))
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{err: errors.New("connection refused")}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		if err := v.Ready(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("before the first fetch: %v", err)
		}
		run(t, v)
		synctest.Wait()
		if err := v.Ready(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") || quotes(err, setURL) {
			t.Errorf("down: %v", err)
		}
		is.publish(set, nil)
		time.Sleep(emptyRetry * 2)
		if err := v.Ready(); err != nil {
			t.Errorf("up: %v", err)
		}
		is.publish("", errors.New("down"))
		time.Sleep(time.Hour)
		if err := v.Ready(); err != nil {
			t.Errorf("the keys from before stay: %v", err)
		}
	})
}

// Whatever happens to the fetches, and in whatever order, each token is answered once, in time.
func TestEachTokenThatWaitsIsAnsweredOnce(t *testing.T) {
	sets := []string{asSet(t, asJWK(t, "P-256", "0")), asSet(t, asJWK(t, "P-256", "1")), asSet(t, asJWK(t, "P-256", "0"), asJWK(t, "P-256", "1"))}
	texts := make([]string, 4)
	for i := range texts {
		texts[i] = signedBy(t, "ES256", "P-256", fmt.Sprint(i))
	}
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{err: errors.New("down")}
		v := verifier(t, Config{JWKS: setURL, Transport: is, JWKSRefresh: 10 * time.Second})
		stop := run(t, v)
		var mu sync.Mutex
		asked, answered := 0, make(map[int]int)
		for round := range 200 {
			is.mu.Lock()
			is.text, is.err, is.delay = sets[round%3], nil, time.Duration(round%7)*time.Second
			if round%5 == 0 {
				is.err = http.ErrHandlerTimeout
			}
			is.mu.Unlock()
			for _, text := range texts {
				n, begun := asked, time.Now()
				ok := v.VerifyLater(text, func(c Claims, err error) {
					mu.Lock()
					defer mu.Unlock()
					answered[n]++
					if late := time.Since(begun); late > 5*time.Second || errors.Is(err, ErrNeedsFetch) || (err == nil) != (c.User == "42") {
						t.Errorf("%v after %s", err, late)
					}
				})
				if ok {
					asked++
				}
			}
			time.Sleep(time.Duration(round%11) * 300 * time.Millisecond)
		}
		stop()
		for n := range asked {
			if answered[n] != 1 {
				t.Errorf("token %d is answered %d times", n, answered[n])
			}
		}
		if asked != 800 {
			t.Errorf("%d were accepted", asked)
		}
	})
}

// The loops that let a crowd in or turn it away have others to serve: it is not answered all at once.
func TestACrowdIsAnsweredInSlices(t *testing.T) {
	forged := signedBy(t, "ES256", "P-256", "made up")
	synctest.Test(t, func(t *testing.T) {
		is := &issuer{text: asSet(t, asJWK(t, "P-256", "1")), delay: time.Second}
		v := verifier(t, Config{JWKS: setURL, Transport: is})
		run(t, v)
		time.Sleep(time.Minute)
		begun, crowd := time.Now(), 3000
		var mu sync.Mutex
		answered, wrong, at := 0, 0, make(map[time.Duration]int)
		for range crowd {
			if !v.VerifyLater(forged, func(_ Claims, err error) {
				mu.Lock()
				defer mu.Unlock()
				if answered++; !errors.Is(err, ErrUnknownKey) {
					wrong++
				}
				at[time.Since(begun)]++
			}) {
				t.Fatal("not accepted")
			}
		}
		time.Sleep(4500 * time.Millisecond) // the first one begins a fetch, which is the last word for it alone
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if answered != crowd || wrong > 0 {
			t.Errorf("%d of %d are answered, %d of them wrongly", answered, crowd, wrong)
		}
		for when, n := range at {
			if n > answerSlice {
				t.Errorf("%d at once, after %s", n, when)
			}
		}
	})
}
