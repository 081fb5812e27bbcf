package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session/token"
)

// claimed is a token of 42 with these claims besides.
func claimed(t testing.TB, more jwt.MapClaims) string {
	t.Helper()
	m := jwt.MapClaims{"sub": "42", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(m, more)
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, m).SignedString([]byte(hubSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// on calls f with each session of user, on its loop.
func (n *node) on(user string, f func(*Session)) {
	n.t.Helper()
	found := make(chan int, len(n.hub.shards))
	for _, sh := range n.hub.shards {
		sh.loop.Post(func() {
			all := sh.find(Target{User: user})
			for _, s := range all {
				f(s)
			}
			found <- len(all)
		})
	}
	sum := 0
	for range n.hub.shards {
		sum += <-found
	}
	if sum == 0 {
		n.t.Fatal("no session of ", user)
	}
}

// allow gives 42's sessions a pass, and wants it to be given.
func (n *node) allow(topic string, until time.Time) {
	n.t.Helper()
	n.on("42", func(s *Session) {
		if r := s.Allow(topic, until); !r.None() {
			n.t.Errorf("%s: %+v", topic, r)
		}
	})
}

// idle42 is a hub.v1 client of 42 with a token of these claims, that has heard all that comes by itself.
func (n *node) idle42(more jwt.MapClaims) *client {
	n.t.Helper()
	c := n.v1("?token=" + claimed(n.t, more))
	c.send(`{"type":"ping"}`)
	for h := c.hear(); h.Type != "subscribed"; h = c.hear() { // its own topic
		if h.Type != "pong" {
			n.t.Fatalf("%+v", h)
		}
	}
	return c
}

// wantAnswers sends requests and wants their answers: a type, or the code of an error.
func (c *client) wantAnswers(requests ...string) {
	c.t.Helper()
	for i := 0; i < len(requests); i += 2 {
		c.send(requests[i])
		h := c.hear()
		if got := h.Type; got != requests[i+1] && (got != "error" || string(h.Code) != requests[i+1]) {
			c.t.Fatalf("%s: got %+v, want %s", requests[i], h, requests[i+1])
		}
	}
}

func TestAPassIsARightOfItsOwn(t *testing.T) {
	n := closed(t, Config{History: kept}, token.Config{})
	c := n.idle42(jwt.MapClaims{"topics": jwt.MapClaims{"subscribe": []string{"*"}, "publish": []string{"*"}}})
	n.number("$room", 1, 2, 10)
	c.wantAnswers(
		`{"type":"subscribe","topic":"$room"}`, "forbidden",
		`{"type":"history","topic":"$room"}`, "forbidden",
	)
	n.allow("$room", time.Time{})
	c.wantAnswers(
		`{"type":"history","topic":"$room"}`, "history",
		`{"type":"subscribe","topic":"$room","since":"0"}`, "subscribed",
	)
	c.wantEvents("$room", 1, 2)
	c.wantAnswers(
		`{"type":"publish","topic":"$room","data":1}`, "forbidden",
		`{"type":"subscribe","topic":"$rooms"}`, "forbidden",
		auth(t, 1, "other"), "ok", // another token does not end it
	)
	n.number("$room", 3, 3, 10)
	c.wantEvents("$room", 3, 3)
	c.wantAnswers(
		`{"type":"subscribe","topic":"$room"}`, "already_subscribed",
		`{"type":"history","topic":"$room"}`, "history",
		`{"type":"unsubscribe","topic":"$room"}`, "ok", // it goes with the subscription
		`{"type":"subscribe","topic":"$room"}`, "forbidden",
		`{"type":"history","topic":"$room"}`, "forbidden",
	)
	n.on("42", func(s *Session) {
		if s.ext.rare != nil {
			t.Errorf("%+v is left", s.ext.rare)
		}
	})
}

func TestATopicIsLeftWhenItsPassEnds(t *testing.T) {
	t.Parallel()
	n := closed(t, Config{}, token.Config{})
	c := n.idle42(jwt.MapClaims{"topics": []string{"news"}})
	soon := time.Now().Add(2 * time.Second)
	for topic, until := range map[string]time.Time{"$a": soon, "b": soon, "news": soon, "$renewed": soon, "$longer": time.Now().Add(time.Hour), "$unused": soon} {
		n.allow(topic, until)
	}
	n.allow("$renewed", time.Time{})
	for _, topic := range []string{"$a", "b", "news", "$renewed", "$longer"} {
		c.send(fmt.Sprintf(`{"type":"subscribe","id":1,"topic":%q}`, topic))
		if h := c.hear(); h.Type != "subscribed" {
			t.Fatalf("%+v", h)
		}
	}
	left := map[string]bool{}
	for range 2 {
		got := c.read()
		if !strings.Contains(got, `"code":"token_expired"`) {
			t.Fatal(got)
		}
		for _, topic := range []string{"$a", "b"} {
			left[topic] = left[topic] || strings.Contains(got, "the topic "+topic+" is not followed")
		}
	}
	if !left["$a"] || !left["b"] {
		t.Errorf("%v", left)
	}
	for _, topic := range []string{"$a", "b"} {
		n.publish(topic, `1`)
	}
	for _, topic := range []string{"news", "$renewed", "$longer"} { // the token allows news, too
		n.publish(topic, `1`)
		c.want(fmt.Sprintf(`{"type":"event","topic":%q,"data":1}`, topic))
	}
	c.wantAnswers(
		`{"type":"subscribe","topic":"$a"}`, "forbidden",
		`{"type":"subscribe","topic":"$unused"}`, "forbidden",
	)
	n.on("42", func(s *Session) {
		if passes := s.ext.rare.passes; len(passes) != 2 {
			t.Errorf("%+v", passes)
		}
	})
}

// The answer of the broker comes when the pass is over: the client is told so, and follows nothing.
func TestAPassThatEndsOnTheWayEndsTheSubscription(t *testing.T) {
	t.Parallel()
	g := newGate()
	verifier, err := token.NewVerifier(token.Config{Secrets: []string{hubSecret}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bent{onReplay: func(ctx context.Context, topic string) error {
		if topic == "$a" {
			return g.wait(ctx)
		}
		return nil
	}}
	n := bend(t, Config{Verifier: verifier}, engine.Config{Pollers: 1}, b)
	defer g.open()
	c := n.idle42(nil)
	n.allow("$a", time.Now().Add(300*time.Millisecond))
	c.send(`{"type":"subscribe","id":1,"topic":"$a"}`)
	c.send(`{"type":"history","id":2,"topic":"$a"}`)
	<-g.came
	if got := c.read(); !strings.HasPrefix(got, `{"type":"error","id":1,"code":"token_expired"`) {
		t.Error(got)
	}
	g.open()
	if got := c.read(); !strings.HasPrefix(got, `{"type":"error","id":2,"code":"forbidden"`) {
		t.Error(got)
	}
	n.number("$a", 1, 1, 10)
	c.hearsNothing()
}

func TestAPassGoesWithASubscriptionThatFails(t *testing.T) {
	b := &bent{onFollow: func(topic string) error {
		if topic == "$a" {
			return pubsub.ErrRefused
		}
		return nil
	}}
	n := bend(t, Config{}, engine.Config{Pollers: 1}, b)
	c := n.v1("?user=42")
	c.send(`{"type":"ping"}`)
	for h := c.hear(); h.Type != "subscribed"; h = c.hear() {
	}
	n.allow("$a", time.Time{})
	c.wantAnswers(`{"type":"subscribe","topic":"$a"}`, "refused", `{"type":"subscribe","topic":"$a"}`, "forbidden")
}

func TestPassesGiveNothingNewInTheGraceOfAToken(t *testing.T) {
	t.Parallel()
	n := closed(t, Config{AuthGrace: time.Minute}, token.Config{Skew: -1})
	c := n.idle42(jwt.MapClaims{"exp": time.Now().Add(2 * time.Second).Unix()})
	n.allow("$a", time.Time{})
	c.wantAnswers(`{"type":"subscribe","topic":"$a"}`, "subscribed")
	c.wantError(ExpiredToken)
	n.allow("$b", time.Time{})
	c.wantAnswers(`{"type":"subscribe","topic":"$b"}`, "token_expired")
	n.publish("$a", `1`)
	c.want(`{"type":"event","topic":"$a","data":1}`)
	c.wantAnswers(auth(t, 1), "ok")
	n.publish("$a", `2`)
	c.want(`{"type":"event","topic":"$a","data":2}`)
}

// allowBy has 42's session take a subscription token, and returns what comes of it.
func (n *node) allowBy(topic, raw string) (claims token.SubscriptionClaims, r Refusal) {
	n.t.Helper()
	type reply struct {
		token.SubscriptionClaims
		Refusal
	}
	replies := make(chan reply, 1)
	n.on("42", func(s *Session) {
		s.AllowBy(topic, raw, func(c token.SubscriptionClaims, r Refusal) { replies <- reply{c, r} })
	})
	select {
	case got := <-replies:
		return got.SubscriptionClaims, got.Refusal
	case <-time.After(patience):
		n.t.Fatal("no reply")
		return
	}
}

func TestASubscriptionTokenGivesAPass(t *testing.T) {
	signer, set := keyPair(t, "1")
	is := &issuer{answer: publishes(set)}
	n := closed(t, Config{}, token.Config{JWKS: "https://login.example/keys", Transport: is, JWKSRefetch: time.Millisecond, Skew: -1})
	c := n.idle42(nil)
	if got, r := n.allowBy("$a", claimed(t, jwt.MapClaims{"channel": "$a", "info": jwt.MapClaims{"x": 1}})); !r.None() || string(got.Info) != `{"x":1}` {
		t.Errorf("%+v, %+v", got, r)
	}
	for what, bad := range map[string]struct {
		raw  string
		want Code
	}{
		"no token":         {"", BadToken},
		"another topic":    {claimed(t, jwt.MapClaims{"channel": "$c"}), BadToken},
		"another user":     {claimed(t, jwt.MapClaims{"channel": "$b", "sub": "43"}), BadToken},
		"no channel":       {claimed(t, nil), BadToken},
		"expired":          {claimed(t, jwt.MapClaims{"channel": "$b", "exp": time.Now().Add(-time.Hour).Unix()}), ExpiredToken},
		"an unknown key":   {mint(t, signer, token.Grant{KeyID: "2"}), BadToken},
		"a key that comes": {mint(t, signer, token.Grant{KeyID: "1"}), BadToken}, // it has no channel
	} {
		if got, r := n.allowBy("$b", bad.raw); r.Code != bad.want || got.Channel != "" {
			t.Errorf("%s: %+v, %+v", what, got, r)
		}
	}
	old := claimed(t, jwt.MapClaims{"channel": "$b", "iat": time.Now().Add(-time.Minute).Unix()})
	n.on("42", func(s *Session) { // a revocation that let this session in
		s.shard.hub.revocations.add([]pubsub.Revocation{{Subject: "user:42", Before: time.Now().Add(-30 * time.Second), At: time.Now(), Until: time.Now().Add(time.Hour)}}, time.Now())
	})
	if _, r := n.allowBy("$b", old); r.Code != BadToken || !strings.Contains(r.Text, "revoked") {
		t.Errorf("%+v", r)
	}
	c.wantAnswers(
		`{"type":"subscribe","topic":"$a"}`, "subscribed",
		`{"type":"subscribe","topic":"$b"}`, "forbidden",
	)
	open := memory(t, Config{})
	open.v1("?user=42")
	if _, r := open.allowBy("$a", claimed(t, jwt.MapClaims{"channel": "$a"})); r.Code != BadRequest {
		t.Errorf("an open hub: %+v", r)
	}
}

func TestPassesAreBounded(t *testing.T) {
	n := closed(t, Config{MaxTopics: 3}, token.Config{})
	c := n.idle42(nil)
	n.on("42", func(s *Session) {
		for topic, want := range map[string]Code{"": BadTopic, "a\n": BadTopic, strings.Repeat("x", 256): BadTopic, "user:43": Forbidden} {
			if r := s.Allow(topic, time.Time{}); r.Code != want {
				t.Errorf("%q: %+v", topic, r)
			}
		}
		if r := s.Allow("a", time.Now()); r.Code != ExpiredToken {
			t.Errorf("%+v", r)
		}
		if s.ext.rare != nil {
			t.Errorf("%+v", s.ext.rare)
		}
		for i, topic := range []string{"a", "b", "c", "a", "d"} {
			if r := s.Allow(topic, time.Time{}); (r.Code == TooManyTopics) != (i == 4) {
				t.Errorf("%s: %+v", topic, r)
			}
		}
	})
	c.wantAnswers(
		`{"type":"subscribe","topic":"a"}`, "subscribed",
		`{"type":"subscribe","topic":"b"}`, "subscribed",
		`{"type":"subscribe","topic":"c"}`, "too_many_topics", // its pass goes: it ended for good
	)
	n.on("42", func(s *Session) {
		if r := s.Allow("d", time.Time{}); !r.None() {
			t.Errorf("%+v", r)
		}
		if s.MaySubscribe("c") || !s.MaySubscribe("d") || !s.MayReadHistory("d") {
			t.Error("passes are not what they were given for")
		}
	})
	_ = c.conn.CloseNow()
	n.eventually("the session has ended", func() bool { return n.hub.Stats().open() == 0 })
}

func TestPrivateTopicsAreForTokensThatNameThem(t *testing.T) {
	n := closed(t, Config{History: kept}, token.Config{})
	all := jwt.MapClaims{"subscribe": []string{"*", "$x", "$*"}, "publish": []string{"*", "$x"}}
	c := n.idle42(jwt.MapClaims{"topics": all, "channels": []string{"$mine", "user:43"}, "subs": jwt.MapClaims{"$too": jwt.MapClaims{}}})
	c.wantAnswers(
		`{"type":"subscribe","topic":"$x"}`, "forbidden",
		`{"type":"history","topic":"$x"}`, "forbidden",
		`{"type":"publish","topic":"$x","data":1}`, "ok",
		`{"type":"publish","topic":"$y","data":1}`, "forbidden",
		`{"type":"subscribe","topic":"user:43"}`, "forbidden",
		`{"type":"subscribe","topic":"$mine"}`, "subscribed",
		`{"type":"history","topic":"$mine"}`, "history",
		`{"type":"subscribe","topic":"$too"}`, "subscribed",
		`{"type":"publish","topic":"$mine","data":1}`, "forbidden",
	)
	for query, want := range map[string]int{"topic=$x": 403, "topic=$mine": 101, "topic=$mine&topic=$x": 403} {
		conn, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?"+query+"&token="+claimed(t, jwt.MapClaims{"channels": []string{"$mine"}}), nil)
		if resp == nil || resp.StatusCode != want {
			t.Errorf("%s: %v, %v", query, resp, err)
		}
		if err == nil {
			_ = conn.CloseNow()
		}
	}
}

func TestACapAllowsWhatItSays(t *testing.T) {
	n := closed(t, Config{History: kept}, token.Config{})
	c := n.idle42(jwt.MapClaims{"caps": []jwt.MapClaims{
		{"channels": []string{"a"}, "allow": []string{"sub"}}, {"channels": []string{"b"}, "allow": []string{"hst", "pub"}},
	}})
	c.wantAnswers(
		`{"type":"subscribe","topic":"a"}`, "subscribed",
		`{"type":"history","topic":"a"}`, "forbidden",
		`{"type":"publish","topic":"a","data":1}`, "forbidden",
		`{"type":"subscribe","topic":"b"}`, "forbidden",
		`{"type":"history","topic":"b"}`, "history",
		`{"type":"publish","topic":"b","data":1}`, "ok",
		`{"type":"subscribe","topic":"channel"}`, "subscribed", // the defaults hold
		`{"type":"history","topic":"channel"}`, "history",
	)
}

// spy is a protocol that shows what its Opened is given.
type spy struct {
	Protocol
	opened chan token.Claims
}

func (p spy) Opened(s *Session, a *Admission) {
	p.opened <- a.Claims
	p.Protocol.Opened(s, a)
}

func TestAProtocolIsToldWhatTheTokenSays(t *testing.T) {
	verifier, err := token.NewVerifier(token.Config{Secrets: []string{hubSecret}})
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{Verifier: verifier}, {}} {
		hub, err := NewHub(cfg, pubsub.NewMemory(pubsub.MemoryConfig{}))
		if err != nil {
			t.Fatal(err)
		}
		p := spy{TestProtocols[0], make(chan token.Claims, 1)}
		if err := hub.Serve("/notification", p); err != nil {
			t.Fatal(err)
		}
		n := run(t, hub, engine.Config{Pollers: 1})
		n.v1("?token=" + claimed(t, jwt.MapClaims{"info": jwt.MapClaims{"name": "Ann"}, "channels": []string{"news"}}))
		got := <-p.opened
		open := cfg.Verifier == nil
		if open && (got.User != "" || got.Channels != nil) ||
			!open && (got.User != "42" || string(got.Info) != `{"name":"Ann"}` || !slices.Equal(got.Channels, []string{"news"}) || got.Expires.IsZero()) {
			t.Errorf("open %t: %+v", open, got)
		}
	}
}
