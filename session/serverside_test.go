package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// subscribed has a backend subscribe sessions.
func (n *node) subscribed(target Target, f Following) {
	n.t.Helper()
	if err := n.hub.Subscribe(n.t.Context(), target, f); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) unsubscribed(target Target, topic string) {
	n.t.Helper()
	if err := n.hub.Unsubscribe(n.t.Context(), target, topic); err != nil {
		n.t.Fatal(err)
	}
}

const wantLeft = `{"type":"error","code":"unsubscribed","message":"the topic raw is not followed any more: the backend ended it","retry":false,"topic":"raw"}`

func TestABackendHasAUsersSessionsFollowOnEveryNode(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	var theirs []*client
	for _, n := range []*node{n1, n2} {
		c, _ := n.enter("?user=42")
		c.hear() // it follows its own topic
		theirs = append(theirs, c)
	}
	bystander, _ := n2.enter("?user=4")
	bystander.hear() // it follows its own topic
	n1.subscribed(Target{User: "42"}, Following{Topic: "raw"})
	for _, c := range theirs {
		c.want(`{"type":"subscribed","topic":"raw"}`)
	}
	n1.subscribed(Target{User: "42"}, Following{Topic: "raw"}) // again: nothing happens
	n2.publish("raw", `1`)
	for _, c := range theirs {
		c.want(`{"type":"event","topic":"raw","data":1}`)
	}
	n2.unsubscribed(Target{User: "42"}, "raw")
	for _, c := range theirs {
		c.want(wantLeft)
	}
	n2.unsubscribed(Target{User: "42"}, "raw") // again: nothing happens
	n2.unsubscribed(Target{User: "42"}, "user:42")
	n1.publish("raw", `2`)
	n1.publish("user:42", `3`)
	for _, c := range theirs {
		if h := c.hear(); h.Type != "event" || h.Topic != "user:42" {
			t.Errorf("a session left its own topic, or hears of one that it left: %+v", h)
		}
	}
	bystander.stays()
	for _, n := range []*node{n1, n2} {
		if refused := n.hub.Stats().Dropped["subscribe_refused"]; refused > 0 {
			t.Errorf("%d subscriptions were refused", refused)
		}
	}
}

func TestABackendHasOneSessionFollowFromWhereItLeftOff(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	n1.number("news", 1, 3, 10)
	first, err := n1.hub.Replay(t.Context(), "news", pubsub.Start, pubsub.Limit{Events: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, welcome := n2.enter("")
	other, _ := n2.enter("")
	n1.subscribed(Target{Session: welcome.Session}, Following{Topic: "news", Since: &first.Events[0].Position})
	if h := c.hear(); h.Type != "subscribed" || h.Topic != "news" || h.Recovered == nil || !*h.Recovered {
		t.Fatalf("%+v", h)
	}
	c.wantEvents("news", 2, 3)
	other.stays()
	n1.subscribed(Target{Session: welcome.Session, Of: "42"}, Following{Topic: "raw"}) // it is not 42's
	n1.unsubscribed(Target{Session: welcome.Session}, "news")
	if h := c.hear(); h.Code != Unsubscribed {
		t.Errorf("%+v", h)
	}
}

func TestLimitsHoldForWhatABackendOrders(t *testing.T) {
	server := redistest.Start(t)
	n := member(t, server, "n1")
	n.onEveryLoop(func(sh *shard) { n.hub.cfg.MaxTopics = 2 })
	c, welcome := n.enter("")
	for i := range 4 {
		n.subscribed(Target{Session: welcome.Session}, Following{Topic: fmt.Sprint("raw", i)})
	}
	n.eventually("two are refused", func() bool { return n.hub.Stats().Dropped["subscribe_refused"] == 2 })
	for i := range 2 {
		c.want(fmt.Sprintf(`{"type":"subscribed","topic":"raw%d"}`, i))
	}
	c.stays()
}

// A request of the client that waits is answered, and nothing else is told.
func TestABackendEndsASubscriptionOnItsWay(t *testing.T) {
	n := start(t, Config{}, engine.Config{Pollers: 1}, newPuppet())
	c := n.v1("")
	c.send(`{"type":"subscribe","id":1,"topic":"raw"}`)
	c.stays()
	n.hub.Control([]byte(`{"unsubscribe":{"session":"` + n.only().name() + `","topic":"raw"}}`))
	if h := c.hear(); h.Code != NotSubscribed {
		t.Errorf("%+v", h)
	}
	c.send(`{"type":"ping","id":2}`)
	c.want(`{"type":"pong","id":2}`)
}

func TestSessionsThatAreToBeKeptAreLeftAlone(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	gone, _ := n1.enter("?user=42")
	stays, kept := n2.enter("?user=42")
	if err := n1.hub.Disconnect(t.Context(), Target{User: "42", Keep: []string{kept.Session}}); err != nil {
		t.Fatal(err)
	}
	gone.wantClose(4003)
	stays.stays()
	if err := n1.hub.Disconnect(t.Context(), Target{Session: kept.Session, Of: "4"}); err != nil {
		t.Fatal(err)
	}
	stays.stays()
	if err := n1.hub.Disconnect(t.Context(), Target{Session: kept.Session, Of: "42"}); err != nil {
		t.Fatal(err)
	}
	stays.wantClose(4003)
}

func TestABackendSetsWhenATokenEnds(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := guarded(t, server, "n1"), guarded(t, server, "n2")
	refresh := func(user string, expires time.Time) {
		t.Helper()
		if err := n1.hub.Refresh(t.Context(), Target{User: user}, expires); err != nil {
			t.Fatal(err)
		}
	}
	expires := func(user string) (ms int64) {
		n2.onEveryLoop(func(sh *shard) {
			for _, s := range sh.find(Target{User: user}) {
				ms = s.ext.grant.expires
			}
		})
		return ms
	}
	enter := func(user string) *client {
		t.Helper()
		c := n2.v1("?token=" + mint(t, secretSigner(t), token.Grant{Subject: user, TTL: time.Hour}))
		c.hear() // its own topic
		return c
	}
	c := enter("42")
	later := time.Now().Add(3 * time.Hour).Truncate(time.Millisecond)
	refresh("42", later)
	c.wantExpiry("expires", 3*60*60)
	n2.eventually("it ends later", func() bool { return expires("42") == later.UnixMilli() })
	refresh("42", time.Time{})
	c.want(`{"type":"expires"}`)
	n2.eventually("it does not end", func() bool { return expires("42") == 0 })
	c.stays()
	n2.onEveryLoop(func(sh *shard) { n2.hub.cfg.AuthGrace = time.Second })
	refresh("42", time.Now())
	c.wantError(ExpiredToken)
	refresh("42", later) // within the grace
	c.wantExpiry("expires", 3*60*60)
	n2.eventually("it ends later again", func() bool { return expires("42") == later.UnixMilli() })
	over := make(chan struct{})
	n2.onEveryLoop(func(sh *shard) { sh.loop.After(1500*time.Millisecond, func() { over <- struct{}{} }) })
	for range n2.hub.shards {
		<-over
	}
	c.send(`{"type":"subscribe","id":1,"topic":"channel"}`)
	c.want(`{"type":"subscribed","id":1,"topic":"channel"}`)
	plain := n2.plain("?token="+mint(t, secretSigner(t), token.Grant{Subject: "7", TTL: time.Hour}), 2)
	refresh("7", time.Now())
	plain.wantClose(4002)
}

func TestASessionWithoutATokenEndsOrGoesOn(t *testing.T) {
	t.Parallel()
	n1, n2 := cluster(t)
	c, welcome := n2.enter("")
	who := Target{Session: welcome.Session}
	for _, expires := range []time.Time{{}, time.Now().Add(time.Hour)} {
		if err := n1.hub.Refresh(t.Context(), who, expires); err != nil {
			t.Fatal(err)
		}
	}
	c.stays()
	if err := n1.hub.Refresh(t.Context(), who, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.wantClose(4002)
}

func TestWhatABackendOrdersMustNameSessionsAndATopic(t *testing.T) {
	n := memory(t, Config{})
	ctx := t.Context()
	good := Target{User: "42"}
	for what, err := range map[string]error{
		"nobody":      n.hub.Subscribe(ctx, Target{}, Following{Topic: "news"}),
		"both":        n.hub.Unsubscribe(ctx, Target{User: "42", Session: "s_2fhfmiposqy91"}, "news"),
		"no session":  n.hub.Refresh(ctx, Target{Session: "42"}, time.Now()),
		"no topic":    n.hub.Subscribe(ctx, good, Following{}),
		"a bad topic": n.hub.Unsubscribe(ctx, good, "a\nb"),
		"many kept":   n.hub.Disconnect(ctx, Target{User: "42", Keep: make([]string, 1001)}),
		"kept tokens": n.hub.Revoke(ctx, Target{User: "42", Keep: []string{"s_2fhfmiposqy91"}}, time.Time{}),
	} {
		if !errors.Is(err, ErrBadTarget) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTopicsAndUsersAreCountedOnceOverAllLoops(t *testing.T) {
	n := start(t, Config{}, engine.Config{Pollers: spread}, pubsub.NewMemory(pubsub.MemoryConfig{}))
	for i := range 8 {
		n.plain(fmt.Sprintf("?user=%d&topic=news&topic=room:%d", i%3, i), 3)
	}
	n.plain("?topic=news", 1)
	users, topics, err := n.hub.Census(t.Context())
	if err != nil || users != 3 || topics != 1+8+3 {
		t.Errorf("%d users, %d topics, %v", users, topics, err)
	}
	rooms := func(topic string) bool { return strings.HasPrefix(topic, "room:") }
	for _, c := range []struct {
		match func(string) bool
		most  int
		want  int
		few   bool
	}{{rooms, 8, 8, true}, {rooms, 7, 0, false}, {func(string) bool { return true }, 100, 12, true}} {
		followers, few, err := n.hub.Topics(t.Context(), c.match, c.most)
		if err != nil || few != c.few || len(followers) != c.want {
			t.Errorf("up to %d: %v, few %t, %v", c.most, followers, few, err)
		}
		if n := followers["news"]; c.want == 12 && n != 9 {
			t.Errorf("news has %d followers", n)
		}
	}
}

// onEveryLoop calls f on each loop and waits for it.
func (n *node) onEveryLoop(f func(sh *shard)) {
	for _, sh := range n.hub.shards {
		done := make(chan struct{})
		sh.loop.Post(func() { f(sh); close(done) })
		<-done
	}
}

// only is the one session.
func (n *node) only() (s *Session) {
	n.onEveryLoop(func(sh *shard) {
		for _, own := range sh.named {
			s = own
		}
	})
	return s
}

func TestABackendsWordIsARight(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n1, n2 := guarded(t, server, "n1"), guarded(t, server, "n2")
	c := n2.v1("?token=" + mint(t, secretSigner(t), token.Grant{Subject: "42", TTL: time.Hour, Subscribe: []string{"public"}}))
	c.hear() // its own topic
	n1.subscribed(Target{User: "42"}, Following{Topic: "$secret"})
	c.want(`{"type":"subscribed","topic":"$secret"}`)
	n1.publish("$secret", `1`)
	c.want(`{"type":"event","topic":"$secret","data":1}`)
	c.send(fmt.Sprintf(`{"type":"auth","id":3,"token":%q}`, mint(t, secretSigner(t), token.Grant{Subject: "42", Subscribe: []string{"public"}})))
	c.wantRenewed(3)
	n1.publish("$secret", `2`)
	c.want(`{"type":"event","topic":"$secret","data":2}`)
	n1.unsubscribed(Target{User: "42"}, "$secret")
	if h := c.hear(); h.Code != Unsubscribed {
		t.Errorf("%+v", h)
	}
	c.send(`{"type":"subscribe","id":4,"topic":"$secret"}`)
	c.wantError(Forbidden)
	n1.subscribed(Target{User: "42"}, Following{Topic: "brief", Until: time.Now().Add(time.Second)})
	c.want(`{"type":"subscribed","topic":"brief"}`)
	c.wantError(ExpiredToken)
	n1.subscribed(Target{User: "42"}, Following{Topic: "user:7"})
	n2.eventually("another user's own topic is refused", func() bool { return n2.hub.Stats().Dropped["subscribe_refused"] == 1 })
}
