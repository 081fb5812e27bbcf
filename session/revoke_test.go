package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// guarded is a node of a cluster whose clients need tokens by the secret.
func guarded(t *testing.T, server *redistest.Server, name string) *node {
	t.Helper()
	v, err := token.NewVerifier(token.Config{Secrets: []string{hubSecret}})
	if err != nil {
		t.Fatal(err)
	}
	var hub *Hub // set before the broker runs
	broker, err := pubsub.NewRedis(pubsub.RedisConfig{
		URL: server.URL(), Node: name,
		OnControl: func(message []byte) { hub.Control(message) },
		OnRevoked: func(list []pubsub.Revocation) { hub.Revoked(list) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if hub, err = newHub(Config{Node: name, Verifier: v}, broker); err != nil {
		t.Fatal(err)
	}
	hub.UseSealer(sealer(t, make([]byte, token.ResumeKeySize)))
	return run(t, hub, engine.Config{Pollers: spread})
}

// serial makes tokens of one second differ.
var serial atomic.Int64

// issued is a token that was issued to a user at that time, and like no other.
func issued(t *testing.T, user string, at time.Time) string {
	life := time.Hour + time.Duration(serial.Add(1))*time.Second
	return mint(t, secretSigner(t), token.Grant{Subject: user, Now: at, TTL: life})
}

func (n *node) revoke(user string, before time.Time) {
	n.t.Helper()
	if err := n.hub.Revoke(n.t.Context(), Target{User: user}, before); err != nil {
		n.t.Fatal(err)
	}
}

// refuses reports whether a token lets nobody in.
func (n *node) refuses(text string) bool {
	n.t.Helper()
	c := n.dial("?token="+text, protocolV1)
	defer func() { _ = c.conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := c.conn.Read(ctx)
	var closed websocket.CloseError
	if err != nil && (!errors.As(err, &closed) || closed.Code != 4001) {
		n.t.Fatal(err)
	}
	return err != nil
}

// stays fails unless the session is answered.
func (c *client) stays() {
	c.t.Helper()
	c.send(`{"type":"ping","id":"stays"}`)
	c.until([]byte(`{"type":"pong","id":"stays"}`))
}

func TestATokenOfTheSecondOfARevocationIsGoodUnlessItWasInUse(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := guarded(t, server, "n1"), guarded(t, server, "n2")
	for round := range 10 {
		ahead := time.Duration(round%2) * 20 * time.Second // the issuer's clock is
		user, now := fmt.Sprint(round), time.Now().Add(ahead)
		old1, old2, older := issued(t, user, now), issued(t, user, now), issued(t, user, now.Add(-time.Hour))
		c1, c2, plain, c3 := n1.v1("?token="+old1), n2.v1("?token="+old2), n2.plain("?token="+old1, 2), n1.v1("?token="+older)
		n1.revoke(user, time.Time{})
		now = time.Now().Add(ahead) // it may be another second by now
		fresh := issued(t, user, now)
		n1.v1("?token=" + fresh).stays() // nobody has to wait on the node that was asked
		for _, c := range []*client{c1, c2, plain, c3} {
			c.wantClose(4001)
		}
		n2.v1("?token=" + fresh).stays()
		n2.v1("?token=" + issued(t, user, now)).stays()
		for _, old := range []string{old1, old2, older} {
			for _, n := range []*node{n1, n2} {
				n.eventually("a token that was in use is refused", func() bool { return n.refuses(old) })
			}
		}
		n1.v1("?token=" + fresh).stays()
	}
}

func TestWithBeforeATokenIsJudgedByItsIssuersClock(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := guarded(t, server, "n1"), guarded(t, server, "n2")
	for name, off := range map[string]time.Duration{"behind": -5 * time.Second, "ahead": 5 * time.Second, "right": 0} {
		before := time.Now().Add(off)
		old, fresh := issued(t, name, before.Add(-time.Second)), issued(t, name, before.Add(time.Second))
		c, welcome := n2.enter("?token=" + old)
		kept, tokenOfKept := n2.enter("?token=" + fresh)
		n1.revoke(name, before)
		c.wantClose(4001)
		kept.stays()
		for _, n := range []*node{n1, n2} {
			if !n.refuses(old) {
				t.Errorf("%s: an old token is let in", name)
			}
			back, _ := n.enter("?token=" + issued(t, name, before.Add(time.Second)))
			if r := back.resume(welcome.Token, nil); r.Code != Forbidden {
				t.Errorf("%s: a session that was revoked is resumed: %+v", name, r)
			}
			back.stays()
		}
		back, _ := n2.enter("?token=" + fresh)
		if r := back.resume(tokenOfKept.Token, nil); r.Type != "resumed" {
			t.Errorf("%s: a session that was not revoked is not resumed: %+v", name, r)
		}
	}
}

func TestBeforeIsExact(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	second := time.Now().Add(-time.Minute).Truncate(time.Second)
	for _, c := range []struct {
		before time.Time
		want   bool
	}{
		{second.Add(-time.Second), false}, {second, false}, {second.Add(time.Microsecond), true}, {second.Add(500 * time.Millisecond), true},
	} {
		text := issued(t, "42", second)
		n.revoke("42", c.before)
		if got := n.refuses(text); got != c.want {
			t.Errorf("issued %s before: %v", c.before.Sub(second), got)
		}
	}
	if err := n.hub.Revoke(t.Context(), Target{User: "42"}, time.Now().Add(2*time.Hour)); !errors.Is(err, ErrBadTarget) {
		t.Errorf("two hours ahead: %v", err)
	}
}

// Whoever was away learns of a revocation late. It must not close those who logged in after it.
func TestARevocationThatComesLateLeavesThoseWhoCameAfterIt(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	now := time.Now()
	at := now.Add(-10 * time.Second)
	v := pubsub.Revocation{Subject: "user:42", At: at, Until: now.Add(time.Hour), Before: at.Truncate(time.Second), InUse: true}
	after, before := n.v1("?token="+issued(t, "42", now)), n.v1("?token="+issued(t, "42", at.Add(-time.Second)))
	n.hub.Revoked([]pubsub.Revocation{v})
	before.wantClose(4001)
	after.stays()

	v.At = time.Now()
	n.hub.Revoked([]pubsub.Revocation{v})
	after.wantClose(4001)
	again := n.v1("?token=" + issued(t, "42", now))
	n.hub.Revoked([]pubsub.Revocation{v}) // as at each reconnect
	again.stays()
}

// The clock of the hub that is asked is behind: whoever is there when the others hear of it is closed, and whoever came since is
// let be where it comes late.
func TestARevocationClosesAllThoughItsClockIsBehind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := guarded(t, server, "n1"), guarded(t, server, "n2")
	token := issued(t, "42", time.Now())
	c1, c2 := n1.v1("?token="+token), n2.v1("?token="+token)
	at := time.Now().Add(-10 * time.Minute).UTC()
	v := pubsub.Revocation{Subject: "user:42", At: at, Until: at.Add(time.Hour), Before: at.Truncate(time.Second), InUse: true}
	n2.hub.Revoked([]pubsub.Revocation{v})
	c2.stays()

	v.At, v.Live = at.Add(time.Second), true
	if err := n1.hub.broker.Revoke(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	c1.wantClose(4001)
	c2.wantClose(4001)
	for _, n := range []*node{n1, n2} {
		n.eventually("its token is refused", func() bool { return n.refuses(token) })
	}
}

// An earlier revocation was made by a hub whose clock is not behind.
func TestARevocationClosesAllThoughAnEarlierOneIsAheadOfItsClock(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	now := time.Now()
	n.hub.Revoked([]pubsub.Revocation{{Subject: "user:42", At: now.Add(10 * time.Minute), Until: now.Add(time.Hour), Before: now.Add(-time.Hour), InUse: true}})
	text := issued(t, "42", now.Add(time.Second))
	c := n.v1("?token=" + text)
	n.revoke("42", time.Time{})
	c.wantClose(4001)
	n.eventually("its token is refused", func() bool { return n.refuses(text) })
}

func TestARevocationIsEnforcedOnceInAnOpenHub(t *testing.T) {
	n := memory(t, Config{})
	c := n.v1("?user=42")
	n.revoke("42", time.Time{})
	c.wantClose(4001)
	again := n.v1("?user=42")
	n.hub.revocations.mu.RLock()
	held := n.hub.revocations.held["user:42"]
	n.hub.revocations.mu.RUnlock()
	at := time.UnixMilli(held.sealed)
	n.hub.Revoked([]pubsub.Revocation{{Subject: "user:42", At: at, Until: held.until, Before: at.Truncate(time.Second), InUse: true}})
	again.stays()
}

func TestNobodySlipsInWhileATokenIsRevoked(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	for round := range 20 {
		user, now := fmt.Sprint(round), time.Now()
		old := []string{issued(t, user, now), issued(t, user, now.Add(-time.Hour))}
		n.v1("?token=" + old[0])
		n.v1("?token=" + old[1])
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range 10 {
					n.dial("?token=" + old[i%2])
				}
			})
		}
		n.revoke(user, time.Time{})
		all.Wait()
		n.eventually("none of them is left", func() bool {
			st := n.hub.Stats()
			return st.open() == 0
		})
		fresh := n.v1("?token=" + issued(t, user, time.Now()))
		fresh.stays()
		_ = fresh.conn.CloseNow()
		n.eventually("it has left", func() bool { return n.hub.Stats().Sessions["v1"] == 0 })
	}
}

func TestMoreTokensInUseThanCanBeNamedAreRefusedByTime(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	now := time.Now()
	grants := make([]*grant, maxFound+1)
	for i := range grants {
		grants[i] = &grant{issued: now.Add(time.Duration(i%3) * time.Second).UnixMicro(), fingerprint: token.Fingerprint{byte(i), byte(i >> 8)}}
	}
	v := pubsub.Revocation{Subject: "user:42", At: now, Until: now.Add(time.Hour), Before: now.Truncate(time.Second), InUse: true}
	n.hub.refuseUsed(v, grants)
	if list := n.hub.found.take(); len(list) > 1 || len(list) == 1 && len(list[0].Tokens) > 0 {
		t.Errorf("the others are told %+v", list)
	}
	for i := range 4 {
		if got := n.refuses(issued(t, "42", now.Add(time.Duration(i)*time.Second))); got != (i < 3) {
			t.Errorf("issued %d s later: %v", i, got)
		}
	}
}

func TestAGrantIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(grant{}); size > 64 {
		t.Errorf("%d bytes: the next size class", size)
	}
}

func TestWhatWasFoundInUseIsToldUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := found{come: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var tries, taken []string
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.share(ctx, func(_ context.Context, v pubsub.Revocation) error {
				if tries = append(tries, v.Subject); len(tries) < 3 || v.Subject == "never" {
					return pubsub.ErrUnavailable
				}
				taken = append(taken, v.Subject)
				return nil
			})
		}()
		until := time.Now().Add(time.Hour)
		for _, subject := range []string{"a", "b"} {
			if !f.put(pubsub.Revocation{Subject: subject, Until: until}) {
				t.Error("refused")
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !slices.Equal(tries, []string{"a", "a", "a", "b"}) || !slices.Equal(taken, []string{"a", "b"}) {
			t.Errorf("tried %q, taken %q", tries, taken)
		}
		for n := range maxUnshared + 2 {
			ok := f.put(pubsub.Revocation{Subject: "never", Until: until})
			synctest.Wait() // the first is taken out, and tried
			if want := n <= maxUnshared; ok != want {
				t.Fatalf("number %d: %v", n, ok)
			}
		}
		cancel()
		<-ended
	})
}

// A node that starts reads all revocations that hold. Its loops go on meanwhile.
func TestManyRevocationsAtOnceAreTakenInParts(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	now := time.Now()
	revoked, other := n.v1("?token="+issued(t, "40000", now)), n.v1("?token="+issued(t, "other", now))
	list := make([]pubsub.Revocation, 100_000)
	for i := range list {
		list[i] = pubsub.Revocation{Subject: "user:" + strconv.Itoa(i), At: now, Until: now.Add(time.Hour), Before: now.Truncate(time.Second), InUse: true}
	}
	n.hub.Revoked(list)
	revoked.wantClose(4001)
	other.stays()
	n.eventually("they hold", func() bool { return n.refuses(issued(t, "99999", now.Add(-time.Second))) })
}

// A session is judged by a revocation once: by the list when its token comes, or by the revocation when that comes. Here
// the token comes in between: the revocation holds, and the loop has not looked at its sessions yet.
func TestWhoIsLetInKnowingARevocationIsNotClosedByIt(t *testing.T) {
	n := closed(t, Config{}, token.Config{})
	first := issued(t, "42", time.Now())
	let, old := n.v1("?token="+first), n.v1("?token="+first)
	let.stays()
	old.stays()
	claims, err := n.hub.cfg.Verifier.Verify(issued(t, "42", time.Now().Add(time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range n.hub.shards {
		renewed := make(chan int)
		sh.loop.Post(func() {
			found := sh.find(Target{User: "42"})
			if len(found) > 0 {
				n.hub.Revoked([]pubsub.Revocation{{Subject: "user:42", At: time.Now(), Until: time.Now().Add(time.Hour), Before: time.Now().Truncate(time.Second), InUse: true}})
				found[0].ext.grant.stop(sh.loop)
				found[0].ext.grant = n.hub.grant(claims) // as auth does
			}
			renewed <- len(found)
		})
		if <-renewed > 0 {
			break
		}
	}
	n.eventually("the other one is closed", func() bool { return n.hub.Stats().Sessions["v1"] == 1 })
	n.publish("user:42", "1")
	n.eventually("the renewed one stays", func() bool { return n.hub.Stats().Deliveries > 0 })
	if !n.refuses(first) {
		t.Error("the token that was in use is let in")
	}
}
