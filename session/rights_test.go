package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/session/token"
)

// answers reads until each of the requests is answered, and returns the answers as they stand.
func (c *client) answers(ids ...int) map[int]string {
	c.t.Helper()
	found := map[int]string{}
	for len(found) < len(ids) {
		got := c.read()
		var of struct{ ID int }
		if json.Unmarshal([]byte(got), &of) == nil && of.ID != 0 {
			found[of.ID] += got // two answers are no JSON
		}
	}
	return found
}

// auth asks for a token with these rights, 42's, to be taken.
func auth(t *testing.T, id int, subscribe ...string) string {
	return fmt.Sprintf(`{"type":"auth","id":%d,"token":%q}`, id, mint(t, secretSigner(t), token.Grant{Subscribe: subscribe}))
}

func TestRightsAreAskedWhenTheyTakeEffect(t *testing.T) {
	n := closed(t, Config{History: kept}, token.Config{})
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	all := mint(t, secretSigner(t), token.Grant{Subscribe: []string{"*"}})
	for _, topic := range []string{"secret", "raw secret"} {
		n.number(topic, 1, 3, 10)
		for what, request := range map[string]string{
			"subscribe":       `{"type":"subscribe","id":1,"topic":%q}`,
			"subscribe since": `{"type":"subscribe","id":1,"topic":%q,"since":"0"}`,
			"history":         `{"type":"history","id":1,"topic":%q}`,
		} {
			c := n.v1("?token=" + all)
			n.together(c, fmt.Sprintf(request, topic), auth(t, 2, "public"))
			got := c.answers(1, 2)
			if !strings.Contains(got[1], `"code":"forbidden"`) || !strings.HasPrefix(got[2], `{"type":"ok","id":2,`) {
				t.Errorf("%s of %s: %v", what, topic, got)
			}
			n.number(topic, 4, 4, 10)
			c.hearsNothing()
		}
	}
	_, welcome := n.enter("?token=" + all)
	c, _ := n.enter("?token=" + all)
	n.together(c, resumeRequest(1, welcome.Token, map[string]string{"secret": "0", "public": "0", "raw secret": ""}), auth(t, 2, "public"))
	got := c.answers(1, 2)
	var r heard
	_ = json.Unmarshal([]byte(got[1]), &r)
	if r.Type != "resumed" || r.Topics["secret"].Error != Forbidden || r.Topics["raw secret"].Error != Forbidden || r.Topics["public"].Error != "" {
		t.Errorf("%v", got)
	}
	n.number("secret", 4, 4, 10)
	n.number("raw secret", 4, 4, 10)
	c.hearsNothing()
}

// A token that allows less ends a replay that is under way, and the client is told.
func TestAReplayEndsWithTheRightToIt(t *testing.T) {
	hub := closed(t, Config{History: kept}, token.Config{})
	hub.number("secret", 1, 500, 8000) // 4 MB: far more than is queued at a time
	c := hub.v1("?token=" + mint(t, secretSigner(t), token.Grant{Subscribe: []string{"*"}}))
	c.send(`{"type":"subscribe","id":1,"topic":"secret","since":"0"}`)
	hub.eventually("the replay has begun to queue", func() bool { return hub.server.Stats().Backlog > 0 })
	c.send(auth(t, 2, "public"))
	events, told, ok := 0, false, false
	for !told || !ok {
		switch h := c.hear(); {
		case h.Type == "event" && h.Topic == "secret":
			if events++; told {
				t.Fatal("an event behind the news that it is forbidden")
			}
		case h.Type == "ok":
			ok = true
		case h.Type == "error" && h.Code == Forbidden:
			told = true
		}
	}
	if events == 500 {
		t.Error("all of the replay came")
	}
	c.hearsNothing()
}

func TestDefaultRightsHoldForThePlainClientsOfAnOpenHub(t *testing.T) {
	rights, err := token.NewRights([]string{"news:*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := memory(t, Config{Rights: rights})
	for _, query := range []string{"?topic=payroll", "?topic=news:1&topic=payroll", "?topic=payroll&user=1"} {
		_, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification"+query, nil)
		if err == nil || resp == nil || resp.StatusCode != 403 {
			t.Errorf("%s: %v, %v", query, resp, err)
		}
	}
	c := n.plain("?topic=news:1", 1)
	n.publish("news:1", `1`)
	c.want(`1`)
	v1 := n.v1("")
	v1.send(`{"type":"subscribe","topic":"payroll"}`)
	v1.wantError(Forbidden)
	everybody := n.dial("") // the broadcast topic is not for them, and nobody asked for it
	n.publish("channel", `1`)
	everybody.send(`1`)
	everybody.wantError(Forbidden)
}

func TestAnExpiredTokenGivesNothingNewUntilAuth(t *testing.T) {
	t.Parallel()
	n := closed(t, Config{History: kept, AuthGrace: time.Minute}, token.Config{Skew: -1})
	n.hub.UseSealer(sealer(t, make([]byte, 32)))
	grant := token.Grant{Subscribe: []string{"*"}, Publish: []string{"*"}, TTL: 2 * time.Second}
	_, welcome := n.enter("?token=" + mint(t, secretSigner(t), token.Grant{Subscribe: []string{"*"}}))
	c := n.v1("?token=" + mint(t, secretSigner(t), grant))
	c.send(`{"type":"subscribe","id":1,"topic":"news"}`)
	for h := c.hear(); h.Type != "error"; h = c.hear() {
		if h.Type != "subscribed" {
			t.Fatalf("%+v", h)
		}
	}
	for i, request := range []string{
		`{"type":"publish","id":%d,"topic":"news","data":1}`, `{"type":"subscribe","id":%d,"topic":"more"}`,
		`{"type":"subscribe","id":%d,"topic":"raw"}`, `{"type":"history","id":%d,"topic":"news"}`,
	} {
		c.send(fmt.Sprintf(request, i+1))
		if got := c.answers(i + 1)[i+1]; !strings.Contains(got, `"code":"token_expired"`) {
			t.Errorf("%s: %s", request, got)
		}
	}
	late := n.v1("?token=" + mint(t, secretSigner(t), grant))
	for h := late.hear(); h.Type != "error"; h = late.hear() { // its own topic may be followed before
	}
	late.send(resumeRequest(1, welcome.Token, map[string]string{"news": "0"}))
	if got := late.answers(1)[1]; !strings.Contains(got, `"code":"token_expired"`) {
		t.Errorf("resume: %s", got)
	}
	n.number("news", 1, 1, 10) // what it follows goes on
	c.wantEvents("news", 1, 1)
	grant.TTL = time.Hour
	c.send(fmt.Sprintf(`{"type":"auth","id":1,"token":%q}`, mint(t, secretSigner(t), grant)))
	c.wantRenewed(1)
	c.send(`{"type":"publish","id":2,"topic":"news","data":2}`)
	if got := c.answers(2)[2]; !strings.HasPrefix(got, `{"type":"ok"`) {
		t.Errorf("behind auth: %s", got)
	}
}

func TestAllSubscriptionsTogetherStayWithinTheNodesLimit(t *testing.T) {
	t.Parallel()
	const limit = 100
	for _, loops := range []int{1, 2} {
		n := start(t, Config{MaxNodeTopics: limit}, engine.Config{Pollers: loops}, pubsub.NewMemory(pubsub.MemoryConfig{}))
		query := "?topic=0"
		for i := 1; i < 90; i++ {
			query += fmt.Sprint("&topic=", i)
		}
		for range 20 {
			conn, resp, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification"+query, nil)
			if err != nil && (resp == nil || resp.StatusCode != 503) {
				t.Fatal(resp, err)
			}
			if err == nil {
				defer conn.CloseNow()
			}
		}
		// Each of these is within the limit, or is told that it is not.
		var in []*client
		for i := range 2 * limit {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			conn, resp, err := websocket.Dial(ctx, "ws://"+n.server.Addr().String()+"/notification?user=1", nil)
			cancel()
			if err != nil && (resp == nil || resp.StatusCode != 503) {
				t.Fatal(resp, err)
			}
			if err == nil {
				defer conn.CloseNow()
				in = append(in, &client{t, conn})
			}
			if st := n.hub.Stats(); st.Subscriptions > limit {
				t.Fatalf("%d subscriptions after %d more", st.Subscriptions, i+1)
			}
		}
		n.publish("channel", `"all"`)
		for _, c := range in {
			c.want(`"all"`)
		}
		v1 := n.v1("?user=1")
		v1.send(`{"type":"subscribe","id":1,"topic":"more"}`)
		if got := v1.answers(1)[1]; !strings.Contains(got, `"code":"too_many_topics"`) {
			t.Errorf("%d loops: %s", loops, got)
		}
		for _, c := range in {
			_ = c.conn.CloseNow()
		}
		v1.want(`{"type":"subscribed","topic":"user:1"}`) // as soon as there is room
	}
}

func TestARevocationFindsAUserWhateverItFollows(t *testing.T) {
	t.Parallel()
	t.Run("the node is busy", func(t *testing.T) {
		n, fill := stuck(t, engine.Config{Pollers: spread}, &bent{})
		fill()
		var all []*client
		for range 4 {
			talker := n.v1("?user=42")
			talker.send(`{"type":"ping"}`)
			all = append(all, n.dial("?user=42&topic=news"), n.v1("?user=42"), talker)
			for got := ""; got != `{"type":"pong"}`; got = talker.read() {
			}
		}
		bystander := n.v1("?user=4")
		revokeAndWantAllClosed(t, n, all, bystander)
	})
	t.Run("the broker was away when it resumed", func(t *testing.T) {
		n := bend(t, Config{}, engine.Config{Pollers: spread}, &bent{onReplay: func(_ context.Context, topic string) error {
			if topic == "user:42" {
				return pubsub.ErrUnavailable
			}
			return nil
		}})
		_, welcome := n.enter("?user=42")
		c, _ := n.enter("?user=42")
		if r := c.resume(welcome.Token, map[string]string{"user:42": "0"}); r.Topics["user:42"].Error != Unavailable {
			t.Fatalf("%+v", r)
		}
		revokeAndWantAllClosed(t, n, []*client{c}, n.v1("?user=4"))
	})
	t.Run("Redis refused to read", func(t *testing.T) {
		n := member(t, redistest.Start(t), "n1")
		c, _ := n.enter("?user=42")
		at := c.follow("user:42")["user:42"]
		epoch, _, _ := strings.Cut(at, ":")
		c, _ = n.enter("?user=42")
		c.send(`{"type":"subscribe","id":1,"topic":"user:42","since":"` + epoch + `:18446744073709551615-18446744073709551615"}`)
		_ = c.answers(1)
		revokeAndWantAllClosed(t, n, []*client{c}, n.v1("?user=4"))
	})
}

func revokeAndWantAllClosed(t *testing.T, n *node, all []*client, bystander *client) {
	t.Helper()
	if err := n.hub.Revoke(t.Context(), Target{User: "42"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		c.wantClose(4001)
	}
	bystander.send(`{"type":"ping","id":1}`)
	for got := ""; got != `{"type":"pong","id":1}`; got = bystander.read() {
	}
}
