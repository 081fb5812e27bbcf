package pusher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"wshub/engine"
	"wshub/pubsub"
	"wshub/session"
	"wshub/session/pusher"
)

func TestEventsReachSubscribersAsTextsOfTheirData(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(app)
	c.subscribe("news")
	for _, data := range []string{
		`{"hello":1}`, `{ "spaced" : [1, 2] }`, "not JSON", `"a JSON string"`, `"quoted, and more`, "", " ", "17", "null", "line\nend\t\x01\u2028é", `\"`, `[1]x`,
	} {
		n.publish(app.Publication("news", `my "event"`, data, ""))
		c.wantText(`my "event"`, "news", data)
	}
	n.publish(pubsub.Publication{Topic: app.Topic("news"), Data: []byte(`{"by":"others"}`)}, pubsub.Publication{Topic: app.Topic("news"), Data: []byte(`"text"`)})
	c.wantText("message", "news", `{"by":"others"}`)
	c.wantText("message", "news", `"text"`)
	c.say("pusher:unsubscribe", map[string]any{"channel": "news"})
	c.wantNothing()
	n.publish(app.Publication("news", "late", "1", ""))
	c.subscribe("news")
}

func TestTheSocketThatPublishedIsLeftOut(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	one, two := n.connect(app), n.connect(app)
	one.subscribe("news")
	two.subscribe("news")
	except, ok := pusher.SessionOf(one.socket)
	if !ok || pusher.SocketOf(except) != one.socket {
		t.Fatalf("%s is %s", one.socket, except)
	}
	n.publish(app.Publication("news", "a", "1", except), app.Publication("news", "b", "2", ""))
	one.wantText("b", "news", "2")
	two.wantText("a", "news", "1")
	two.wantText("b", "news", "2")
}

// Applications are walls: neither another application nor another protocol can name a channel, nor hear of it.
func TestApplicationsAreWalls(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	a, b := n.connect(app), n.connect(other)
	a.subscribe("news")
	b.subscribe("news")
	b.wantText("pusher_internal:subscription_count", "news", `{"subscription_count":1}`)
	n.publish(app.Publication("news", "e", "1", ""))
	a.wantText("e", "news", "1")
	b.wantNothing()
	members := a.join("presence-room", `{"user_id":"u"}`)
	if got := b.join("presence-room", `{"user_id":"v"}`); fmt.Sprint(members.Presence.IDs, got.Presence.IDs) != "[u] [v]" {
		t.Errorf("%v, %v", members, got)
	}

	v1, _, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification", &websocket.DialOptions{Subprotocols: []string{"hub.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	defer v1.CloseNow()
	for _, request := range []string{
		`{"id":1,"type":"subscribe","topic":"pusher:1:news"}`, `{"id":1,"type":"publish","topic":"pusher:1:news","data":1}`,
		`{"id":1,"type":"presence","topic":"pusher:1:presence-room"}`, `{"id":1,"type":"history","topic":"pusher:1:cache-a"}`,
	} {
		if err := v1.Write(t.Context(), websocket.MessageText, []byte(request)); err != nil {
			t.Fatal(err)
		}
		for {
			_, answer, err := v1.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(answer), `"id":1`) {
				if !strings.Contains(string(answer), `"forbidden"`) {
					t.Errorf("%s: %s", request, answer)
				}
				break
			}
		}
	}
	_, answer, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?topic=pusher:1:news", nil)
	if err == nil || answer.StatusCode != 403 {
		t.Errorf("a plain client at a walled topic: %v, %v", answer, err)
	}
	a.wantNothing()
}

// A shared application's channels are the hub's topics, which others know.
func TestASharedApplicationSpeaksWithTheOtherProtocols(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(common)
	c.subscribe("news")
	c.subscribe("private-room")
	v1, _, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?topic=news&topic=private-room", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v1.CloseNow()
	n.eventually("both follow", func() bool { return n.hub.Stats().Subscriptions == 4 })
	n.publish(common.Publication("news", "my-event", `{"a":1}`, ""))
	c.wantText("my-event", "news", `{"a":1}`)
	c.send(`{"event":"client-typing","channel":"private-room","data":{"by":"me"}}`)
	if err := v1.Write(t.Context(), websocket.MessageText, []byte(`{"from":"others"}`)); err != nil {
		t.Fatal(err)
	}
	c.wantText("message", "news", `{"from":"others"}`)
	seen := map[string]bool{}
	for range 3 {
		_, data, err := v1.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[string(data)] = true
	}
	for _, want := range []string{`{"event":"my-event","data":{"a":1}}`, `{"event":"client-typing","data":{"by":"me"}}`, `{"from":"others"}`} {
		if !seen[want] {
			t.Errorf("%s was not heard: %v", want, seen)
		}
	}
}

// A topic like dialog#42,43 lets in the users in its list. A user's channel is none, however the user is called.
func TestUsersOfASharedApplicationAreNoListsOfUsers(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{TrustUserParam: true}, engine.Config{})
	for topic, want := range map[string]int{
		"dialog#smith,42": 101, "#server-to-user-smith,42": 403, "#watch-smith,42": 403, "#server-to-user-42": 403, "#watch-42": 403,
	} {
		for _, user := range []string{"42", "server-to-user-42", "watch-42"} {
			if topic == "dialog#smith,42" && user != "42" {
				continue
			}
			query := url.Values{"topic": {topic}, "user": {user}}
			c, answer, err := websocket.Dial(t.Context(), "ws://"+n.server.Addr().String()+"/notification?"+query.Encode(), nil)
			if err == nil {
				defer c.CloseNow()
			}
			if answer == nil || answer.StatusCode != want {
				t.Errorf("user %s, %s: %+v, %v; want %d", user, topic, answer, err, want)
			}
		}
	}
	c := n.connect(common)
	c.signIn(`{"id":"smith,42"}`)
	n.publish(common.Publication("#server-to-user-smith,42", "my-event", "for you", ""))
	c.wantText("my-event", "#server-to-user-smith,42", "for you")
}

func TestASharedApplicationGivesNoRightsToPublicChannels(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{Verifier: noTokens(t), Broadcast: "all"}, engine.Config{})
	c := n.connect(common)
	c.subscribe("all")
	c.ask("payroll", "")
	c.wantFault("payroll", "AuthError", 403)
	c.subscribe("private-payroll")
	walled := n.connect(app)
	walled.subscribe("payroll")
}

func TestPrivateChannelsWantASignature(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(app)
	c.subscribe("private-a")
	c.subscribe("private-encrypted-a")
	for name, auth := range map[string]any{
		"none": nil, "another channel's": c.auth("private-c", ""), "another key": "other" + strings.TrimPrefix(c.auth("private-b", ""), "key"),
		"another socket's": "key:" + app.Sign("1.1:private-b"), "in upper case": strings.ToUpper(c.auth("private-b", "")), "no text": 7,
		"another application's": "key:" + other.Sign(c.socket+":private-b"),
	} {
		c.say("pusher:subscribe", map[string]any{"channel": "private-b", "auth": auth})
		status, kind := 401, "AuthError"
		if name == "no text" {
			status, kind = 400, "BadRequest"
		}
		c.wantFault("private-b", kind, status)
	}
	n.publish(app.Publication("private-b", "e", "1", ""), app.Publication("private-encrypted-a", "e", `{"nonce":"n","ciphertext":"c"}`, ""))
	c.wantText("e", "private-encrypted-a", `{"nonce":"n","ciphertext":"c"}`)
	c.ask("private-a", "")
	c.wantError(0)
}

func TestClientEventsGoToTheOthersOfAGuardedChannel(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	one, two := n.connect(app), n.connect(app)
	for _, c := range []*client{one, two} {
		c.subscribe("private-a")
		c.subscribe("news")
		c.subscribe("private-encrypted-a")
	}
	one.join("presence-a", `{"user_id":7,"user_info":{"name":"Ada"}}`)
	two.join("presence-a", `{"user_id":"v"}`)
	one.want("pusher_internal:member_added", "presence-a", `"{\"user_id\":\"v\",\"user_info\":null}"`)
	for _, data := range []string{`{"x":1}`, `"text"`, `17`, `null`} {
		one.send(`{"event":"client-typing","channel":"private-a","data":` + data + `}`)
		two.want("client-typing", "private-a", data)
	}
	one.send(`{"event":"client-typing","channel":"private-a"}`)
	two.want("client-typing", "private-a", "null")
	one.send(`{"event":"client-typing","channel":"presence-a","data":{}}`)
	if h := two.hear(); h.UserID != "7" || h.Event != "client-typing" || string(h.Data) != "{}" {
		t.Errorf("%+v", h)
	}
	for _, refused := range []string{
		`{"event":"client-x","channel":"news","data":{}}`, `{"event":"client-x","channel":"private-encrypted-a","data":{}}`,
		`{"event":"client-x","channel":"private-other","data":{}}`, `{"event":"client-x","channel":"presence-other","data":{}}`,
		`{"event":"client-x","data":{}}`, `{"event":"client-x","channel":"#server-to-user-7","data":{}}`,
		`{"event":"client-x","channel":"private-a","data":"` + strings.Repeat("x", pusher.MaxEvent) + `"}`,
		`{"event":"client-` + strings.Repeat("x", 200) + `","channel":"private-a","data":{}}`,
	} {
		one.send(refused)
		one.wantError(4301)
	}
	one.wantNothing()
	two.wantNothing()
}

func TestClientEventsOverTheRateAreRefused(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{MessageRate: 1, MessageBurst: 5}, engine.Config{})
	c := n.connect(app)
	c.subscribe("private-a")
	for range 4 {
		c.send(`{"event":"client-x","channel":"private-a","data":{}}`)
	}
	c.send(`{"event":"client-x","channel":"private-a","data":{}}`)
	c.wantError(4301)
	c.ask("private-b", "")
	c.wantFault("private-b", "LimitReached", 429)
}

func TestSubscriptionsThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{MaxTopics: 3}, engine.Config{})
	c := n.connect(app)
	for _, channel := range []string{"", "a b", "a:b", "ä", "a/b", "a#b", "#server-to-user-", "#other", strings.Repeat("x", 165), "a\x00"} {
		c.say("pusher:subscribe", map[string]any{"channel": channel})
		c.wantFault(channel[:min(len(channel), 164)], "BadRequest", 400)
	}
	long := "x" + strings.Repeat("ä", 82) // its 164th byte is none that a text ends with
	c.say("pusher:subscribe", map[string]any{"channel": long})
	c.wantFault(long[:163], "BadRequest", 400)
	c.say("pusher:subscribe", map[string]any{"channel": "#server-to-user-u"})
	c.wantFault("#server-to-user-u", "AuthError", 401)
	for _, data := range []string{"", "x", `{}`, `{"user_id":""}`, `{"user_id":{}}`, `{"user_id":"` + strings.Repeat("x", 129) + `"}`, `{"user_id":"a\u0000"}`, `{"user_id":"u","user_info":"` + strings.Repeat("x", 4096) + `"}`} {
		c.ask("presence-a", data)
		status, kind := 400, "BadRequest"
		if data == "" || data == "x" {
			status, kind = 401, "AuthError"
		}
		c.wantFault("presence-a", kind, status)
	}
	c.say("pusher:subscribe", map[string]any{"channel": "presence-a", "channel_data": `{"user_id":"u"}`, "auth": c.auth("presence-a", `{"user_id":"v"}`)})
	c.wantFault("presence-a", "AuthError", 401)
	c.subscribe("a")
	c.subscribe("b")
	c.subscribe(strings.Repeat("x", 164))
	c.ask("c", "")
	c.wantFault("c", "LimitReached", 4004)
	c.wantNothing()
}

func TestGarbageIsAnsweredAndDisturbsNothing(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(app)
	c.subscribe("news")
	for _, frame := range []string{
		"", "garbage", "null", "[]", `"text"`, "{}", `{"event":7}`, `{"event":""}`, `{"Event":"pusher:ping"}`, `{"event":"pusher:nothing"}`, `{"event":"my-event","channel":"news","data":{}}`,
		`{"event":"pusher:ping","channel":7}`, `{"event":"pusher:signin"}`,
	} {
		c.send(frame)
		c.wantError(0)
	}
	for _, frame := range []string{`{"event":"pusher:subscribe"}`, `{"event":"pusher:subscribe","data":[]}`, `{"event":"pusher:subscribe","data":"{"}`} {
		c.send(frame)
		c.wantFault("", "BadRequest", 400)
	}
	for _, frame := range []string{`{"event":"pusher:unsubscribe"}`, `{"event":"pusher:unsubscribe","data":{"channel":"never"}}`, `{"event":"pusher:pong"}`} {
		c.send(frame)
	}
	c.send(`{"event":"pusher:subscribe","data":"{\"channel\":\"text\"}"}`)
	c.wantText("pusher_internal:subscription_succeeded", "text", "{}")
	n.publish(app.Publication("news", "e", "1", ""))
	c.wantText("e", "news", "1")
	if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	c.wantClose(1003)
}

func TestWhoCanNotStayHearsTheCode(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	for path, code := range map[string]int{
		"/app/nobody?protocol=7": 4001, "/app/?protocol=7": 4001, "/app/key": 4008, "/app/key?protocol=8": 4007, "/app/key?protocol=4": 4007, "/app/key?protocol=x": 4007,
	} {
		n.open(path).wantClose(code)
	}
}

func TestOverCapacityIsToldByItsCode(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{HandshakeRate: 2}, engine.Config{})
	for range 1000 { // as fast as it goes
		c := n.open("/app/key?protocol=7")
		if h := c.hear(); h.Event == "pusher:error" {
			c.wantCode(4100)
			return
		}
	}
	t.Error("1000 handshakes were let in at 2 a second")
}

func TestTheDrainReconnects(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(app)
	n.server.StopAccepting()
	if err := n.hub.Drain(context.Background(), session.Departure{}); err != nil {
		t.Fatal(err)
	}
	c.wantClose(4200)
}

func TestTerminatedUsersStayAway(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c, d, e := n.connect(app), n.connect(app), n.connect(app)
	c.signIn(`{"id":"u1","user_info":{"name":"Ada"}}`)
	d.signIn(`{"id":"u1"}`)
	e.signIn(`{"id":"u2"}`)
	if err := n.hub.DisconnectFollowers(t.Context(), app.Topic(pusher.UserChannel("u1"))); err != nil {
		t.Fatal(err)
	}
	c.wantClose(4009)
	d.wantClose(4009)
	e.wantNothing()
}

func TestASignedInUserIsReachedByItsOwnChannel(t *testing.T) {
	t.Parallel()
	n := start(t, session.Config{}, engine.Config{})
	c := n.connect(app)
	c.signIn(`{"id":7,"user_info":{"name":"Ada"}}`)
	c.subscribe("#server-to-user-7")
	c.subscribe("#server-to-user-7") // as the client does each time
	n.publish(app.Publication(pusher.UserChannel("7"), "e", "1", ""))
	c.wantText("e", "#server-to-user-7", "1")
	c.say("pusher:unsubscribe", map[string]any{"channel": "#server-to-user-7"})
	c.ask("#server-to-user-8", "")
	c.wantFault("#server-to-user-8", "AuthError", 401)
	members := c.join("presence-a", "") // by the user that has signed in
	if string(members.Presence.Hash["7"]) != `{"name":"Ada"}` {
		t.Errorf("%v", members)
	}
	c.say("pusher:signin", map[string]any{"user_data": `{"id":"8"}`, "auth": "key:" + app.Sign(c.socket+`::user::{"id":"8"}`)})
	c.wantError(0)
	c.signIn(`{"id":7,"user_info":{"name":"Ada"}}`)
	for _, data := range []string{`{}`, `{"id":""}`, `[]`, `x`, `{"id":null}`} {
		c.say("pusher:signin", map[string]any{"user_data": data, "auth": "key:" + app.Sign(c.socket+"::user::"+data)})
		c.wantError(0)
	}
	c.say("pusher:signin", map[string]any{"user_data": `{"id":"7"}`, "auth": "key:" + app.Sign("1.1::user::"+`{"id":"7"}`)})
	c.wantClose(4009)
	long := n.connect(app)
	long.signIn(`{"id":"8","user_info":"` + strings.Repeat("x", pubsub.MaxMemberInfo) + `"}`)
	long.ask("presence-a", "")
	long.wantFault("presence-a", "BadRequest", 400)
}

// signIn signs in, which must succeed.
func (c *client) signIn(data string) {
	c.t.Helper()
	c.say("pusher:signin", map[string]any{"user_data": data, "auth": c.app.Key + ":" + c.app.Sign(c.socket+"::user::"+data)})
	want, _ := json.Marshal(map[string]string{"user_data": data})
	h := c.hear()
	var got map[string]string
	if err := json.Unmarshal([]byte(h.text()), &got); err != nil || h.Event != "pusher:signin_success" || got["user_data"] != data {
		c.t.Fatalf("got %+v: %s, want %s", h, h.Data, want)
	}
}
